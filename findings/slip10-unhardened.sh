#!/usr/bin/env bash
# One phrase, one path, three libraries, three results: SLIP-0010 on ed25519 with an unhardened step.
#
# SLIP-0010 defines only hardened steps for ed25519. slip10 1.1.0, bip-utils 2.12.3 and hdwallet 3.6.1 agree on those.
#
# Expected: all three refuse m/0, as SLIP-0010 requires.
# Seen:     slip10 refuses. bip-utils refuses in Bip32Slip10Ed25519, but silently hardens the step in Bip44. hdwallet derives
#           a key that no other library derives: HMAC over the private key as for a hardened step, with the index of an
#           unhardened one. Its own default path for Solana has two such steps. So its first address is not that of
#           bip-utils, and a phrase restored elsewhere shows no coins.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet slip10==1.1.0 bip-utils==2.12.3 hdwallet==3.6.1
"$dir/venv/bin/python" - <<'PYTHON'
import hashlib
import hmac

from bip_utils import Bip32KeyError, Bip32Slip10Ed25519, Bip39SeedGenerator, Bip44, Bip44Changes, Bip44Coins
from hdwallet import HDWallet
from hdwallet.cryptocurrencies import Solana
from hdwallet.derivations import BIP44Derivation, CustomDerivation
from hdwallet.eccs import SLIP10Ed25519ECC
from hdwallet.hds import BIP32HD, BIP44HD
from hdwallet.mnemonics import BIP39Mnemonic
from slip10 import SLIP10, SLIP10DerivationError

seed = bytes(range(16))  # test vector 1 of SLIP-0010


def of_slip10(path):
    try:
        return SLIP10.from_seed(seed, curve_name="ed25519").get_privkey_from_path(path).hex()
    except SLIP10DerivationError:
        return "refused"


def of_bip_utils(path):
    try:
        return Bip32Slip10Ed25519.FromSeed(seed).DerivePath(path).PrivateKey().Raw().ToHex()
    except Bip32KeyError:
        return "refused"


def of_hdwallet(path):
    wallet = BIP32HD(ecc=SLIP10Ed25519ECC)
    wallet.from_seed(seed.hex())
    wallet.from_derivation(CustomDerivation(path=path))
    return wallet.private_key()


def show(path):
    answers = [of_slip10(path), of_bip_utils(path), of_hdwallet(path)]
    print(path, *answers, sep="\n  ")
    return answers


vector = "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3"
assert show("m/0'") == [vector] * 3
master = hmac.digest(b"ed25519 seed", seed, hashlib.sha512)
plain = hmac.digest(master[32:], b"\0" + master[:32] + (0).to_bytes(4, "big"), hashlib.sha512)[:32].hex()
assert show("m/0") == ["refused", "refused", plain]

words = BIP39Mnemonic(" ".join(["abandon"] * 11 + ["about"]))
wallet = HDWallet(cryptocurrency=Solana, hd=BIP44HD).from_mnemonic(words)
wallet.from_derivation(BIP44Derivation(coin_type=Solana.COIN_TYPE))
change = Bip44.FromSeed(Bip39SeedGenerator(words.mnemonic()).Generate(), Bip44Coins.SOLANA).Purpose().Coin().Account(0)
address = change.Change(Bip44Changes.CHAIN_EXT).AddressIndex(0).PublicKey().ToAddress()
print("Solana, account 0, change 0, address 0:")
print(f"  hdwallet   {wallet.path()}  {wallet.address()}\n  bip-utils  {address}")
assert wallet.path() == "m/44'/501'/0'/0/0"
assert wallet.address() == "3EJBvTB2Nj3GpT3gwoRavrrhn5AfCe7XLEC6qzrxXGUQ"
assert address == "B9sVeu4rJU12oUrUtzjc6BSNuEXdfvurZkdcaTVkP2LY"
PYTHON
