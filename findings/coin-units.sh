#!/usr/bin/env bash
# Prices with two decimals, from 0.01 to 100.00 coins, in the coin's smallest unit, by six Python libraries' own functions.
#
# kaspa 2.1.0 (the network's own SDK), monero 1.1.1, xrpl-py 5.2.0, tonsdk 1.0.15, tonutils 2.5.1 (ton-core 0.7.1), bitcoin-utils
# 0.8.8. All six take a float; decimal.Decimal judges.
#
# Expected: all round, since no float is 0.29. The smallest unit, written as a float, is the smallest unit.
# Seen:     three do. kaspa and monero cut off: `kaspa_to_sompi(0.29)` is 28999999, and 1 price in 14 lacks a unit; in monero
#           1 in 33. monero calls floats "not recommended" and is right with a Decimal. kaspa makes a float of whatever it
#           gets, and its own way back, `sompi_to_kaspa`, returns one: 3 sompi there and back are 2. xrpl-py rounds, but
#           refuses one drop, 0.000001, as too small. So a payment lacks a unit, and a shop that waits for the exact sum
#           does not see it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check kaspa==2.1.0 monero==1.1.1 xrpl-py==5.2.0 tonsdk==1.0.15 \
    tonutils==2.5.1 ton-core==0.7.1 bitcoin-utils==0.8.8
"$dir/venv/bin/python" - <<'PYTHON'
from decimal import Decimal

import kaspa
from bitcoinutils.utils import to_satoshis
from monero.numbers import to_atomic
from ton_core import to_nano
from tonsdk.utils import to_nano as tonsdk_to_nano
from xrpl.constants import XRPLException
from xrpl.utils import xrp_to_drops

# Each with the coin's decimals, and how many of the prices it gets wrong.
LIBRARIES = {
    "kaspa": (kaspa.kaspa_to_sompi, 8, 698),
    "monero": (to_atomic, 12, 303),
    "xrpl-py": (xrp_to_drops, 6, 0),
    "tonsdk": (lambda amount: tonsdk_to_nano(amount, "ton"), 9, 0),
    "tonutils": (to_nano, 9, 0),
    "bitcoin-utils": (to_satoshis, 8, 0),
}
PRICES = [Decimal(cents) / 100 for cents in range(1, 10_001)]


def units(convert, amount):
    try:
        return int(convert(amount))
    except XRPLException as error:
        return str(error)


failed = False
for name, (convert, decimals, expected) in LIBRARIES.items():
    wrong = [price for price in PRICES if units(convert, float(price)) != price * 10**decimals]
    smallest = units(convert, float(Decimal(1).scaleb(-decimals)))
    sample = f", as {wrong[0]}: {units(convert, float(wrong[0]))}" if wrong else ""
    print(f"{name}: {len(wrong)} of {len(PRICES)} prices wrong{sample}; the smallest unit is {smallest}")
    failed |= len(wrong) != expected
    failed |= smallest != ("XRP amount 1e-06 is too small." if name == "xrpl-py" else 1)

assert all(to_atomic(price) == price * 10**12 for price in PRICES), "monero, of a Decimal"
back = [units for units in range(1, 10_001) if kaspa.kaspa_to_sompi(kaspa.sompi_to_kaspa(units)) != units]
print(f"kaspa, there and back: {len(back)} of 10000 sums are another one, as {back[0]} sompi, which become", end=" ")
print(kaspa.kaspa_to_sompi(kaspa.sompi_to_kaspa(back[0])))
assert len(back) == 693 and back[0] == 3 and kaspa.kaspa_to_sompi(kaspa.sompi_to_kaspa(3)) == 2
assert kaspa.kaspa_to_sompi(Decimal("0.29")) == 28999999
assert not failed, "it behaves otherwise than stated"
PYTHON
