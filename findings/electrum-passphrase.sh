#!/usr/bin/env bash
# An Electrum seed phrase with a passphrase ("seed extension"), restored by three other libraries.
#
# bip-utils 2.12.3, hdwallet 3.6.1, bip39-slip39 2026.10.24. The vectors are from Electrum's own tests.
#
# Expected: all three give Electrum's seed, with and without a passphrase.
# Seen:     without a passphrase, they do. Electrum normalises the passphrase like the words: lower case, single spaces, no
#           accents. bip-utils and hdwallet use it as typed. So a passphrase with a capital letter gives a wallet that
#           Electrum never had, without an error. bip39-slip39 does as Electrum does.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet bip-utils==2.12.3 hdwallet==3.6.1 bip39-slip39==2026.10.24
"$dir/venv/bin/python" - <<'PYTHON'
from bip39_slip39 import electrum
from bip_utils import ElectrumV2SeedGenerator
from hdwallet.seeds import ElectrumV2Seed

words = "wild father tree among universe such mobile favorite target dynamic credit identify"
passphrase = "Did you ever hear the tragedy of Darth Plagueis the Wise?"
vectors = {
    "": "aac2a6302e48577ab4b46f23dbae0774e2e62c796f797d0a1b5faeb528301e30"
    "64342dafb79069e7c4c6b8c38ae11d7a973bec0d4f70626f8cc5184a8d0b0756",
    passphrase: "4aa29f2aeb0127efb55138ab9e7be83b36750358751906f86c662b21a1ea1370"
    "f949e6d1a12fa56d3d93cadda93038c76ac8118597364e46f5156fde6183c82f",
}


def seeds(text):
    return {
        "bip-utils": ElectrumV2SeedGenerator(words).Generate(text).hex(),
        "hdwallet": ElectrumV2Seed.from_mnemonic(words, passphrase=text or None, mnemonic_type="segwit"),
        "bip39-slip39": electrum.seed_from_mnemonic(words, text).hex(),
    }


for text, expected in vectors.items():
    right = {name for name, seed in seeds(text).items() if seed == expected}
    print(f"passphrase {text!r}: {', '.join(sorted(right))} as Electrum")
    assert right == ({"bip-utils", "hdwallet", "bip39-slip39"} if text == "" else {"bip39-slip39"})
# Only capital letters make the difference.
lower = seeds(passphrase.lower())
print("in lower case:", ", ".join(name for name, seed in lower.items() if seed == vectors[passphrase]), "as Electrum")
assert set(lower.values()) == {vectors[passphrase]}
PYTHON
