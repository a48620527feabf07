#!/usr/bin/env bash
# The Merkle path (BUMP, BRC-74) of a block that has its coinbase alone, in the SDK that reads and writes them.
#
# bsv-sdk 2.4.0 (Python). The paths are those of Bitcoin's block 1, whose root is the id of its only transaction, and of block
# 170, which has two.
#
# Expected: the path of block 1, one level with one leaf that is marked as the transaction, is read, and its root is that leaf.
# Seen:     block 170 is read and gives its root. Block 1 has no path: neither the bytes are read nor is one made of the same
#           leaf, "Missing hash for index 0 at height 0". Without any level it is read and written, and then its root is not
#           that leaf but an IndexError. So the rewards of most blocks before 2010, and of those of a quiet network, cannot
#           be proven with it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check bsv-sdk==2.4.0
"$dir/venv/bin/python" - <<'PYTHON'
from bsv.merkle_path import MerklePath

LONE = "0e3e2357e806b6cdb1f70b54c3a3a17b6714ee1f0e68bebb44a74b1efd512098"
TWO = [
    "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082",
    "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16",
]
ROOT = "7dac2c5666815c17a3b36427de37bb9d2e2c5ccec3f8633eb91a4205cb4c10ff"


def path(height, *leaves):
    level = b"".join(bytes([offset, flag]) + bytes.fromhex(txid)[::-1] for offset, flag, txid in leaves)
    return bytes([height, 1, len(leaves)]) + level


def refused(make, *arguments):
    try:
        made = make(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise SystemExit(f"this is new: {make.__name__} gives {made}")


two = path(170, (0, 0, TWO[0]), (1, 2, TWO[1]))
assert MerklePath.from_binary(two).compute_root(TWO[1]) == ROOT, "block 170"
print("block 170, two transactions:", ROOT)

missing = "ValueError: Missing hash for index 0 at height 0"
seen = refused(MerklePath.from_binary, path(1, (0, 2, LONE)))
print("block 1, read:", seen)
assert seen == missing
seen = refused(MerklePath, 1, [[{"offset": 0, "hash_str": LONE, "txid": True}]])
print("block 1, made:", seen)
assert seen == missing
empty = MerklePath.from_binary(bytes([1, 0]))
seen = refused(empty.compute_root, LONE)
print("block 1, without a level:", seen)
assert empty.to_binary() == bytes([1, 0]) and seen == "IndexError: list index out of range"
PYTHON
