#!/usr/bin/env bash
# A message signed with the key of a segwit address, as BIP-137 and as Electrum do it, verified by four Python libraries.
#
# btclib 2026.10.24, bitcoinlib 0.7.10, pycoin 0.92718.20260405, python-bitcoinlib 0.12.2. One key, one signature; only its
# first byte differs: by BIP-137 it is 31 to 34 for P2PKH, 35 to 38 for P2SH-P2WPKH, 39 to 42 for P2WPKH; Electrum writes 31 to
# 34 for all three.
#
# Expected: all verify P2PKH, and most verify both forms for both kinds of segwit address.
# Seen:     only btclib verifies all five. bitcoinlib lacks Electrum's nested form. pycoin verifies Electrum's P2WPKH, but not
#           BIP-137's. python-bitcoinlib verifies P2PKH alone. None raises an error: a right signature in the other form is
#           False, like a forged one. And btclib takes a text as hex: "hello" is False too, without an error, and "cafe" is
#           the message of two bytes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet btclib==2026.10.24 ecc==2026.10.23 bitcoinlib==0.7.10 pycoin==0.92718.20260405 \
    python-bitcoinlib==0.12.2 embit==0.8.0 coincurve==21.0.0
HOME="$dir" "$dir/venv/bin/python" -W ignore - <<'PYTHON'
import base64
import hashlib

import bitcoinlib.keys
from bitcoin.signmessage import BitcoinMessage, VerifyMessage
from bitcoin.wallet import CBitcoinAddress
from btclib.ecc import bms
from coincurve import PrivateKey
from embit import ec, script
from pycoin.symbols.btc import network

KEY = PrivateKey(bytes(31) + b"\7")
public = ec.PublicKey.parse(KEY.public_key.format())
nested = script.p2sh(script.p2wpkh(public))
ADDRESSES = {"P2PKH": script.p2pkh(public), "P2SH-P2WPKH": nested, "P2WPKH": script.p2wpkh(public)}
FORMS = [("P2PKH", 31), ("P2SH-P2WPKH", 35), ("P2SH-P2WPKH", 31), ("P2WPKH", 39), ("P2WPKH", 31)]
LIBRARIES = {
    "btclib": (lambda address, text, signature: bms.verify(text.encode(), address, signature), [1, 1, 1, 1, 1]),
    "bitcoinlib": (lambda address, text, signature: bitcoinlib.keys.verify_message(text, signature, address), [1, 1, 0, 1, 1]),
    "pycoin": (lambda address, text, signature: network.msg.verify(address, signature, text), [1, 0, 0, 0, 1]),
    "python-bitcoinlib": (
        lambda address, text, signature: VerifyMessage(CBitcoinAddress(address), BitcoinMessage(text), signature),
        [1, 0, 0, 0, 0],
    ),
}


def sign(message, first):
    preimage = b"\x18Bitcoin Signed Message:\n" + bytes([len(message)]) + message
    digest = hashlib.sha256(hashlib.sha256(preimage).digest()).digest()
    signature = KEY.sign_recoverable(digest, hasher=None)
    return base64.b64encode(bytes([first + signature[64]]) + signature[:64]).decode()


print("P2PKH; nested as BIP-137, as Electrum; P2WPKH as BIP-137, as Electrum")
failed = False
for name, (verify, expected) in LIBRARIES.items():
    verdicts = [verify(ADDRESSES[kind].address(), "hello", sign(b"hello", first)) for kind, first in FORMS]
    print(f"  {name:18} {verdicts}")
    failed |= verdicts != expected
address = ADDRESSES["P2WPKH"].address()
texts = bms.verify("hello", address, sign(b"hello", 39)), bms.verify("cafe", address, sign(b"\xca\xfe", 39))
print("btclib, a text of no hex, and one of hex as its bytes:", texts)
assert not failed and texts == (False, True), "it behaves otherwise than stated"
PYTHON
