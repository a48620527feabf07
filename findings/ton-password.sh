#!/usr/bin/env bash
# A wallet of The Open Network (TON), restored from its 24 words and its password by three Python libraries.
#
# tonsdk 1.0.15, pytoniq-core 0.2.1 (tonutils and pytoniq take their keys from it) and bip-utils 2.12.3. By TON's own code the
# password is the message of an HMAC whose key is the phrase. A phrase is valid without a password if a hash of that begins
# with 0. One with a password must not be valid without it; another hash marks it, so that a wallet knows to ask. The script does
# this, too, and makes both kinds of phrase.
#
# Expected: all three give the wallet's key, as with BIP-39; two have a parameter `password`, and bip-utils a `passphrase`.
# Seen:     without a password they do. With one only bip-utils does. tonsdk and pytoniq-core take the password and do not use
#           it, so they open another, empty wallet, the same for every password. No error says so. Their `mnemonic_is_valid` has
#           no password and says False of such a phrase. And a phrase that their `mnemonic_new` makes for a password is one
#           without: bip-utils refuses it together with the password.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary tonsdk==1.0.15 pytoniq-core==0.2.1 \
    bip-utils==2.12.3 PyNaCl==1.6.2
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import hmac
import random
from hashlib import pbkdf2_hmac

import pytoniq_core.crypto.keys as pytoniq
import tonsdk.crypto as tonsdk
from bip_utils import TonMnemonicValidator, TonSeedGenerator
from nacl.signing import SigningKey

ROUNDS = 100_000
LIBRARIES = {"tonsdk": tonsdk, "pytoniq-core": pytoniq}


def derived(words, password, salt, rounds):
    entropy = hmac.digest(" ".join(words).encode(), password.encode(), "sha512")
    return pbkdf2_hmac("sha512", entropy, salt, rounds)


def valid(words, password):
    return derived(words, password, b"TON seed version", ROUNDS // 256)[0] == 0


def asks_for_password(words):
    return derived(words, "", b"TON fast seed version", 1)[0] == 1 and not valid(words, "")


def public_key(seed):
    return bytes(SigningKey(seed[:32]).verify_key).hex()


def phrase(password):
    generator = random.Random(3)
    while True:
        words = generator.choices(pytoniq.words, k=24)
        if (not password or asks_for_password(words)) and valid(words, password):
            return words


for password in ["", "correct horse"]:
    words = phrase(password)
    right, without = (public_key(derived(words, word, b"TON default seed", ROUNDS)) for word in (password, ""))
    found = {name: library.mnemonic_to_wallet_key(words, password)[0].hex() for name, library in LIBRARIES.items()}
    found["bip-utils"] = public_key(TonSeedGenerator(" ".join(words), password).Generate())
    print(f"with{'' if password else 'out'} a password: {right[:16]};", {name: key[:16] for name, key in found.items()})
    assert found["bip-utils"] == right and TonMnemonicValidator().IsValid(" ".join(words), password)
    for name, library in LIBRARIES.items():
        assert found[name] == without and (found[name] == right) == (not password)
        assert found[name] == library.mnemonic_to_wallet_key(words, "another")[0].hex()
        assert library.mnemonic_is_valid(words) == (not password)

for name, library in LIBRARIES.items():
    words = library.mnemonic_new(24, "correct horse")
    assert valid(words, "") and not TonMnemonicValidator().IsValid(" ".join(words), "correct horse")
    print(f"{name} makes a phrase for a password; bip-utils refuses both together")
PYTHON
