#!/usr/bin/env bash
# The record by which a name of the Ethereum Name Service points at content (ENSIP-7): the code of a namespace (ipfs: 0xe3 01),
# then the binary CID of version 1, whatever its codec and hash.
#
# content-hash 2.0.0 from PyPI reads and writes such records; multiformats 0.3.1.post4, which it stands on, makes the CIDs.
# One SHA-256 in CIDs of three codecs: a dag-pb node, as directories are; raw bytes, as files are that fit into one block (Kubo's
# profile unixfs-v1-2025); dag-cbor.
#
# Expected: each record gives back its CID, and each CID its record.
# Seen:     all three records give the same name, "Qm…" of version 0, which stands for dag-pb alone: version and codec are dropped.
#           Of a raw file it is the name of a block that was never made, and a gateway waits for it in vain. A CID of version 1 it does
#           not write: it takes base32 for base58 ("subsection not found"). Only what Kubo named by default before is right.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary content-hash==2.0.0 multiformats==0.3.1.post4
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import hashlib

import content_hash
from multiformats import CID

digest = b"\x12\x20" + hashlib.sha256(b"hello").digest()
names = set()
for codec in ["dag-pb", "raw", "dag-cbor"]:
    cid = CID("base32", 1, codec, digest)
    name = content_hash.decode("e301" + bytes(cid).hex())
    read = CID.decode(name)
    print(f"{cid}\n  is read as {name}: version {read.version}, {read.codec.name}")
    assert (read.version, read.codec.name, read.digest) == (0, "dag-pb", digest)
    names.add(name)
    try:
        print("  written:", content_hash.encode("ipfs", str(cid)))
        raise SystemExit("a CID of version 1 was written")
    except ValueError as error:
        print(f"  written: {error}")
        assert str(error) == "subsection not found", error
assert len(names) == 1, names
(old,) = names
assert content_hash.encode("ipfs", old) == "e301" + bytes(CID("base32", 1, "dag-pb", digest)).hex()
PYTHON
echo "as described"
