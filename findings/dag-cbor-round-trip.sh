#!/usr/bin/env bash
# IPLD blocks of DAG-CBOR, read and written again by two Python libraries: is the block, and so its CID, the same?
#
# libipld 3.5.0 (over Rust) and dag-cbor 0.3.3 (with multiformats 0.3.1.post4).
#
# Expected: yes: DAG-CBOR has one form for each value, and both libraries write it. What one writes, the other reads.
# Seen:     libipld has no type for a link: it returns links as bytes, and writes bytes as a link when they can be read as a
#           CID. So a SHA-256 multihash that is kept as bytes becomes a link (version 0), and four bytes such as 01 55 00 00
#           do too (version 1, an identity hash of nothing). Read and written again, such a block is another block with
#           another CID. And dag-cbor writes -0.0 as it is; libipld writes it as 0.0 and refuses to read dag-cbor's block.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet libipld==3.5.0 dag-cbor==0.3.3 multiformats==0.3.1.post4 multiformats-config==0.3.1
"$dir/venv/bin/python" - <<'PYTHON'
import hashlib

import dag_cbor
import libipld
from multiformats import CID

digest = hashlib.sha256(b"").digest()
kept = {
    "SHA-256 digest": digest,
    "its CID without the multihash's prefix": b"\x01\x55" + digest,
    "SHA3-256 multihash": b"\x16\x20" + digest,
    "Ed25519 peer id": b"\x00\x24\x08\x01\x12\x20" + digest,
    "nested values": {"b": [1, -(2**64), 2**64 - 1, 0.5, None, True], "aa": {"é": "é", "": []}},
    "a link": {"link": CID("base32", 1, "dag-cbor", b"\x12\x20" + digest)},
    "a link of version 0": CID("base58btc", 0, "dag-pb", b"\x12\x20" + digest),
}
changed = {
    "SHA-256 multihash": b"\x12\x20" + digest,
    "four bytes": b"\x01\x55\x00\x00",
    "four zeros but the first": b"\x01\x00\x00\x00",
}


def written_again(block):
    assert dag_cbor.encode(dag_cbor.decode(block)) == block, "dag-cbor's own round trip"
    return libipld.encode_dag_cbor(libipld.decode_dag_cbor(block))


for name, value in kept.items():
    block = dag_cbor.encode(value)
    assert written_again(block) == block, name
    print(f"{name}: the same block")
for name, value in changed.items():
    block = dag_cbor.encode(value)
    other = written_again(block)
    link = dag_cbor.decode(other)
    print(f"{name}: {block.hex()[:20]}… becomes {other.hex()[:20]}…, a link to {link}")
    assert type(link) is CID and bytes(link) == value

negative = dag_cbor.encode(-0.0)
print(f"-0.0: {negative.hex()} by dag-cbor, {libipld.encode_dag_cbor(-0.0).hex()} by libipld")
assert negative == bytes.fromhex("fb8000000000000000")
assert libipld.encode_dag_cbor(-0.0) == bytes.fromhex("fb0000000000000000")
try:
    libipld.decode_dag_cbor(negative)
except ValueError as error:
    print(f"  and libipld, of dag-cbor's: {error}")
else:
    raise AssertionError("it behaves otherwise than stated")
PYTHON
