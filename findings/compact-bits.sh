#!/usr/bin/env bash
# Five Python libraries decode the same four-byte number: a header's bits, the compact form of its target.
#
# python-bitcoinlib 0.12.2, bitcoinx 0.9, btclib 2026.10.24, buidl 0.2.36, pycoin 0.92718.20260405. The reference is Bitcoin
# Core's arith_uint256, with the values of Core's own unit test.
#
# Expected: all agree on bits that occur in blocks, and differ at most where the sign bit is set.
# Seen:     pycoin's mask is 07ffff where Core's is 7fffff. So it is right for 1d00ffff, the only bits of Bitcoin's first
#           year, and wrong for those of difficulty 2.53 (1c654657) and of regtest (207fffff). Below exponent 3, buidl
#           returns a float with a fraction, and bitcoinx and pycoin raise ValueError. python-bitcoinlib and buidl read the
#           sign bit as a digit. Only btclib reads all magnitudes as Core does.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet \
    python-bitcoinlib==0.12.2 bitcoinx==0.9 btclib==2026.10.24 ecc==2026.10.23 buidl==0.2.36 pycoin==0.92718.20260405
"$dir/venv/bin/python" - <<'PYTHON'
import bitcoinx
from bitcoin.core.serialize import uint256_from_compact
from btclib.block.proof_of_work import target_from_bits
from buidl.helper import bits_to_target
from pycoin.block import difficulty_max_mask_for_bits

readers = {
    "python-bitcoinlib": uint256_from_compact,
    "bitcoinx": bitcoinx.bits_to_target,
    "btclib": lambda bits: int.from_bytes(target_from_bits(f"{bits:08x}"), "big"),
    "buidl": lambda bits: bits_to_target(bits.to_bytes(4, "little")),
    "pycoin": difficulty_max_mask_for_bits,
}
# Bits, their magnitude by Core, and the libraries that differ.
cases = [
    (0x1D00FFFF, 0xFFFF << 208, {}),
    (0x1B0404CB, 0x0404CB << 192, {}),
    (0x1C654657, 0x654657 << 200, {"pycoin": 0x054657 << 200}),
    (0x207FFFFF, 0x7FFFFF << 232, {"pycoin": 0x07FFFF << 232}),
    (0x05009234, 0x92340000, {}),
    (0x02123456, 0x1234, {"bitcoinx": ValueError, "buidl": 4660.3359375, "pycoin": ValueError}),
    (0x01123456, 0x12, {"bitcoinx": ValueError, "buidl": 18.204437255859375, "pycoin": ValueError}),
    (
        0x04923456,  # negative
        0x12345600,
        {"python-bitcoinlib": 0x92345600, "bitcoinx": ValueError, "buidl": 0x92345600, "pycoin": 0x2345600},
    ),
]
failed = False
for bits, magnitude, others in cases:
    print(f"{bits:08x}")
    for name, read in readers.items():
        try:
            got = read(bits)
        except ValueError:
            got = ValueError
        expected = others.get(name, magnitude)
        text = f"{got:#x}" if type(got) is int else got
        print(f"  {name:18} {text}{'' if got == magnitude else '   (other than Core)'}")
        failed |= got != expected or type(got) is not type(expected)
assert not failed, "it behaves otherwise than stated"
PYTHON
