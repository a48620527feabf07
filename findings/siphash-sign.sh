#!/usr/bin/env bash
# Four Python libraries for SipHash-2-4, and a block filter (BIP-158) built from the number that each returns.
#
# siphash24 1.9, siphashc 2.9.1, csiphash 0.0.5, siphash 0.0.1. The value is the one in the SipHash paper's appendix.
#
# Expected: libraries that return a number return the paper's, a129ca6149be45e5; those that return bytes return the bytes of
#           that number, lowest first.
# Seen:     all do, except siphash24: its intdigest is signed, so every second hash is negative. BIP-152's short ids, the low
#           six bytes, are still correct by luck. BIP-158 multiplies by the range and takes the upper 64 bits, which are then
#           negative too. So a filter made or matched with it is wrong for half of the elements, without an error.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet siphash24==1.9 siphashc==2.9.1 csiphash==0.0.5 siphash==0.0.1
"$dir/venv/bin/python" - <<'PYTHON'
import csiphash
import siphash
import siphash24
import siphashc

key, message = bytes(range(16)), bytes(range(15))
paper = 0xA129CA6149BE45E5
number = siphash24.siphash24(message, key=key).intdigest()
print(f"siphash24: {number:#x}, siphashc: {siphashc.siphash(key, message):#x}")
assert siphashc.siphash(key, message) == siphash.SipHash_2_4(key, message).hash() == paper
assert csiphash.siphash24(key, message) == siphash24.siphash24(message, key=key).digest() == paper.to_bytes(8, "little")
assert number == paper - 2**64

low = (1 << 48) - 1
assert number & low == paper & low, "BIP-152's short id"

# BIP-158, the filter of testnet's genesis block, whose vector is 019dfca8: one element, stored as its position in the range.
script = bytes.fromhex(
    "4104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61de"
    "b649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac"
)
block = bytes.fromhex("000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943")[::-1]
hashed = siphash24.siphash24(script, key=block[:16])
places = [(value * 784931) >> 64 for value in (int.from_bytes(hashed.digest(), "little"), hashed.intdigest())]
print(f"place in the filter: {places[0]}, by intdigest {places[1]}")
assert places[0] == (1 << 19) + 0b0111011111110010101, "019dfca8: quotient 1, and 19 bits of the rest"
assert places[1] == places[0] - 784931
PYTHON
