#!/usr/bin/env bash
# A wallet's seed that was split into shares of words (SLIP-39), 2 of 3, put together again by three Python libraries.
#
# shamir-mnemonic 0.3.0 (the reference, by Trezor) makes the shares as Trezor's devices do; bip39-slip39 2026.10.24 and embit 0.8.0,
# which signing devices are built on, read them. Since the end of 2023 SLIP-39 has one bit more: "extendable" shares have
# another checksum. The reference makes such shares unless told otherwise.
#
# Expected: all three restore the seed. A library that does not know the new bit says so.
# Seen:     of the old kind, they do, in all directions. Of the new kind embit says "Invalid Checksum" for each share, which is what
#           it says when a word is mistyped. So the owner of a right backup looks for a mistake in all of its plates, and there
#           is none. embit parses that bit as part of another number, and has neither a word for it nor another error. Its own
#           shares are of the old kind, which the others read.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check shamir-mnemonic==0.3.0 bip39-slip39==2026.10.24 embit==0.8.0
"$dir/venv/bin/python" - <<'PYTHON'
import shamir_mnemonic
from bip39_slip39 import slip39
from embit import bip39
from embit.slip39 import SLIP39_WORDS, Share, ShareSet

PASSPHRASE = "correct horse"
SEED = bytes(range(16))
READERS = {
    "shamir-mnemonic": lambda shares: shamir_mnemonic.combine_mnemonics(shares, PASSPHRASE.encode()),
    "bip39-slip39": lambda shares: slip39.master_secret_from_mnemonics(shares, PASSPHRASE),
    "embit": lambda shares: bip39.mnemonic_to_bytes(ShareSet.recover_mnemonic(shares, PASSPHRASE.encode())),
}


def verdicts(shares):
    found = {}
    for name, read in READERS.items():
        try:
            found[name] = "right" if read(shares) == SEED else "another seed"
        except ValueError as error:
            found[name] = str(error)
    return found


def mistyped(share):
    words = share.split()
    words[8] = SLIP39_WORDS[(SLIP39_WORDS.index(words[8]) + 1) % len(SLIP39_WORDS)]
    return " ".join(words)


def parse_error(share):
    try:
        Share.parse(share)
    except ValueError as error:
        return str(error)
    return None


def split(**options):
    return shamir_mnemonic.generate_mnemonics(1, [(2, 3)], SEED, PASSPHRASE.encode(), **options)[0]


for name, shares, embits in [
    ("by the reference, unless told otherwise", split(), "Invalid Checksum"),
    ("by the reference, old kind", split(extendable=False), "right"),
    ("by embit", ShareSet.generate_shares(bip39.mnemonic_from_bytes(SEED), 2, 3, PASSPHRASE.encode()), "right"),
]:
    for pair in (shares[:2], shares[1:], shares[::2]):
        seen = verdicts(pair)
        assert seen == {"shamir-mnemonic": "right", "bip39-slip39": "right", "embit": embits}
    print(f"{name}: {seen}")
    assert {parse_error(share) for share in shares} == {None if embits == "right" else embits}
    assert {parse_error(mistyped(share)) for share in shares} == {"Invalid Checksum"}
PYTHON
