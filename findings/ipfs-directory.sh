#!/usr/bin/env bash
# A directory of two files as IPFS keeps it, written and read as DAG-PB and packed into a CAR by four Python libraries.
#
# ipld-dag-pb 0.0.1 and py-ipld-dag 0.2.1 (with py-cid 0.5.0) for DAG-PB, ipld-car 0.0.1 and libipld 3.5.0 (over Rust) for CARs.
# CIDs are of version 0, as `ipfs add` makes them unless told otherwise; that of the file is the one that IPFS gives for it.
#
# Expected: both write the links in the order of their names, as DAG-PB wants it, so the directory has one CID, and read it
#           again. Both readers of CARs give the blocks that were written, under their CIDs.
# Seen:     ipld-dag-pb does. py-ipld-dag, whose own page says that links must be sorted, writes them as they come, so the same
#           directory has another CID than in IPFS. It cannot read any directory of such links, "not a valid base58 encoded
#           multihash", since py-cid takes the bytes of a CID of version 0 for text. ipld-car forgets such a CID's length
#           byte: the CID that it reads belongs to nothing, and the last byte of the true one comes before the block. It reads
#           even its own CARs so, and no error says it. Version 1 it reads right. libipld refuses each CAR with a block that
#           is not DAG-CBOR, so each with a file of IPFS.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check ipld-dag-pb==0.0.1 py-ipld-dag==0.2.1 ipld-car==0.0.1 \
    libipld==3.5.0 dag-cbor==0.3.3 multiformats==0.3.1.post4 multiformats-config==0.3.1 py-cid==0.5.0 py-multihash==3.0.0 \
    py-multibase==2.0.0 py-multicodec==1.0.0 base58==2.1.1
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import hashlib

import cid
import ipld_car
import ipld_dag_pb
import libipld
from dag.codecs import dag_pb
from multiformats import CID

DIRECTORY = b"\x08\x01"
TEXT = b"hello world\n"


def version_0(block):
    return CID("base58btc", 0, "dag-pb", ("sha2-256", hashlib.sha256(block).digest()))


def version_1(block):
    return CID("base32", 1, "dag-pb", ("sha2-256", hashlib.sha256(block).digest()))


file = bytes(ipld_dag_pb.encode(ipld_dag_pb.PBNode(b"\x08\x02\x12\x0c" + TEXT + b"\x18\x0c")))
assert str(version_0(file)) == "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"


def link(name):
    fields = b"\x0a\x22" + bytes(version_0(file)) + b"\x12\x01" + name + b"\x18" + bytes([len(file)])
    return b"\x12" + bytes([len(fields)]) + fields


def by_ipld_dag_pb(names):
    links = [{"hash": version_0(file), "name": name, "t_size": len(file)} for name in names]
    return bytes(ipld_dag_pb.encode(ipld_dag_pb.prepare({"data": DIRECTORY, "links": links})))


def by_py_ipld_dag(names):
    to = cid.make_cid(0, "dag-pb", bytes(version_0(file)))
    links = [{"Hash": to, "Name": name, "Tsize": len(file)} for name in names]
    return dag_pb.encode({"Data": DIRECTORY, "Links": links})


right = link(b"a") + link(b"b") + b"\x0a\x02" + DIRECTORY
swapped = link(b"b") + link(b"a") + b"\x0a\x02" + DIRECTORY
for names, expected in (("ab", right), ("ba", swapped)):
    made = by_ipld_dag_pb(names), by_py_ipld_dag(names)
    print(f"links given as {names}: ipld-dag-pb {version_0(made[0])}, py-ipld-dag {version_0(made[1])}")
    assert made == (right, expected)

assert [link.name for link in ipld_dag_pb.decode(right).links] == ["a", "b"]
try:
    dag_pb.decode(right)
except ValueError as error:
    print("read by py-ipld-dag:", error)
    assert "not a valid base58" in str(error)
else:
    raise AssertionError("py-ipld-dag behaves otherwise than stated")

for version in (version_1, version_0):
    written = [(version(block), block) for block in (right, file)]
    car = bytes(ipld_car.encode([written[0][0]], written))
    roots, blocks = ipld_car.decode(car)
    print(f"CIDs as {version.__name__}: ipld-car reads", *(f"{key} of {len(block)} bytes" for key, block in blocks))
    assert roots == [written[0][0]]
    for (key, block), (true, other) in zip(blocks, written):
        if version is version_1:
            assert (key, bytes(block)) == (true, other)
        else:
            digest = bytes(true)[2:]
            assert bytes(key) == b"\x12\x20\x20" + digest[:31] and bytes(block) == digest[31:] + other
    try:
        libipld.decode_car(car)
    except ValueError as error:
        print("  libipld:", error)
        assert "only DAG-CBOR" in str(error)
    else:
        raise AssertionError("libipld behaves otherwise than stated")
PYTHON
