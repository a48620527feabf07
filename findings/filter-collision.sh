#!/usr/bin/env bash
# A BIP-158 filter in which two scripts fall on one place, read by buidl.
#
# buidl 0.2.36. The filters are made with its own encode_gcs, of the same 100 scripts for two blocks.
#
# Expected: every script of the filter is found, whatever the block.
# Seen:     so it is for one block. For the other two scripts share a place, which BIP-158 allows: the filter's N counts both,
#           and the second is a difference of 0. buidl keeps the places in a set and takes N from the set's size, one too
#           few, so it hashes every script to a wrong place: of 100 scripts it finds 0. The filter that it serialises again
#           differs too, and with it the filter header. With n scripts this happens to n in 1,570,000 blocks: 1 in 314 of
#           those with 5,000. A wallet misses its payments there, and no error says so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet buidl==0.2.36
"$dir/venv/bin/python" - <<'PYTHON'
import hashlib

from buidl.compactfilter import GOLOMB_M, CompactFilter, decode_gcs, encode_gcs, hash_to_range
from buidl.script import P2WPKHScriptPubKey

SCRIPTS = [P2WPKHScriptPubKey(hashlib.sha256(b"script %d" % number).digest()[:20]) for number in range(100)]
RAW = [script.raw_serialize() for script in SCRIPTS]
# The block by which the key is drawn; how many places the scripts have; how many of them buidl finds.
for block, places, found in [(4119, 100, 100), (4120, 99, 0)]:
    key = hashlib.sha256(b"block %d" % block).digest()[:16]
    encoded = encode_gcs(key, RAW)
    decoded = decode_gcs(key, encoded)
    # By the rule: N, which the filter begins with, times M is the range of the hash.
    assert encoded[0] == len(decoded) == len(set(RAW)) == 100
    assert all(hash_to_range(key, raw, encoded[0] * GOLOMB_M) in decoded for raw in RAW), "the filter itself is right"

    filter_ = CompactFilter.parse(key, encoded)
    count = sum(script in filter_ for script in SCRIPTS)
    same = filter_.serialize() == encoded
    print(f"100 scripts on {len(set(decoded))} places: {count} found, serialised {'the same' if same else 'otherwise'}")
    assert (len(set(decoded)), count, same) == (places, found, places == 100)
PYTHON
