#!/usr/bin/env bash
# SLIP-39 shares under a passphrase, made by the reference implementation, restored by two other libraries.
#
# shamir-mnemonic 0.3.0 makes the shares; slip39 14.1.0, and hdwallet-slip39 4.0.3 on which it builds, read them.
#
# Expected: both give back the secret that the shares were made of.
# Seen:     slip39.recover does. hdwallet's SLIP39Mnemonic.decode does, too, but its SLIP39Seed.from_mnemonic, which documents
#           the passphrase as "used for additional security when decoding", does not look at it: it answers as if none had
#           been given. SLIP-39 cannot tell a wrong passphrase, so there is no error, and the wallet that comes of it is
#           another one, and empty.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/reference"
"$dir/reference/bin/pip" install --quiet shamir-mnemonic==0.3.0
# One line each: extendable or not, the passphrase, what the shares give without it, and two of three shares.
"$dir/reference/bin/python" - >"$dir/shares" <<'PYTHON'
import shamir_mnemonic

for is_extendable in (True, False):
    for passphrase in ("", "TREZOR"):
        made = shamir_mnemonic.generate_mnemonics(
            1, [(2, 3)], bytes(range(16)), passphrase=passphrase.encode(), extendable=is_extendable
        )
        two = made[0][:2]
        print(is_extendable, passphrase, shamir_mnemonic.combine_mnemonics(two, b"").hex(), *two, sep="|")
PYTHON
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet slip39==14.1.0 hdwallet-slip39==4.0.3
"$dir/venv/bin/python" - "$dir/shares" <<'PYTHON'
import sys

import slip39
from hdwallet.mnemonics import SLIP39Mnemonic
from hdwallet.seeds import SLIP39Seed

secret = bytes(range(16))
lines = open(sys.argv[1]).read().splitlines()
assert len(lines) == 4
for line in lines:
    is_extendable, passphrase, without, *shares = line.split("|")
    seed = SLIP39Seed.from_mnemonic("\n".join(shares), passphrase=passphrase)
    print(f"passphrase {passphrase!r}, extendable {is_extendable}: made of {secret.hex()}, SLIP39Seed says {seed}")
    assert slip39.recover(shares, passphrase=passphrase.encode()) == secret
    assert SLIP39Mnemonic.decode("\n".join(shares), passphrase=passphrase) == secret.hex()
    assert seed == without and (seed == secret.hex()) == (passphrase == "")
PYTHON
