#!/usr/bin/env bash
# A Cardano transaction that another program made, read with pycardano to be signed a second time, and a datum that waits for its
# hash at a script's address.
#
# pycardano 0.19.2 (cbor2 5.9.0, PyNaCl 1.6.2). The ledger hashes the bytes as they are, so the script does, too: Blake2b-256 of
# the body is the transaction's id, which all signatures are for; Blake2b-256 of the datum is its hash.
#
# Expected: `Transaction.from_cbor` gives the id of what it read, and a signature of its body's hash is valid. RawPlutusData, by
#           its name, keeps what it read, so `datum_hash` is right.
# Seen:     so it is with outputs in the form before 2022, an array. An output as a map, the form of Babbage and the only one
#           that can hold a script, becomes an array unless it has a datum or a script; assets are sorted; integers are
#           shortened. Each changes the id: the program watches for a transaction that never comes, and its signature spoils
#           the transaction. And a datum whose fields are an array of known length, as canonical CBOR wants it, gets the hash
#           of another one, under which nothing can be spent. No error says so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check pycardano==0.19.2 cbor2==5.9.0 cbor2pure==5.8.0 PyNaCl==1.6.2 \
    frozendict==2.5.1 frozenlist==1.8.0
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import hashlib

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey
from pycardano import RawPlutusData, Transaction, datum_hash

ADDRESS, INPUT = "581d60" + "11" * 28, "825820" + "ab" * 32 + "00"
COIN, FEE, LIMIT = "1a000f4240", "1a00029810", "1a00989680"
SMALL, LARGE = ("581c" + one * 28 + "a14341424301" for one in ("22", "33"))
KEY = SigningKey(bytes(range(32)))


def blake2b(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def body(output, inputs="81" + INPUT, fee=FEE):
    return bytes.fromhex(f"a400{inputs}0181{output}02{fee}03{LIMIT}")


BODIES = {
    "an array": (body("82" + ADDRESS + COIN), True),
    "an array, inputs tagged as a set": (body("82" + ADDRESS + COIN, "d90102" + "81" + INPUT), True),
    "a map": (body("a200" + ADDRESS + "01" + COIN), False),
    "a map with a datum": (body("a300" + ADDRESS + "01" + COIN + "028201d81843d87980"), True),
    "two assets in order": (body("82" + ADDRESS + "82" + COIN + "a2" + SMALL + LARGE), True),
    "two assets in the other order": (body("82" + ADDRESS + "82" + COIN + "a2" + LARGE + SMALL), False),
    "a fee of eight bytes": (body("82" + ADDRESS + COIN, fee="1b0000000000029810"), False),
}
failed = False
for name, (made, expected) in BODIES.items():
    transaction = Transaction.from_cbor(b"\x84" + made + b"\xa0\xf5\xf6")
    same = str(transaction.id) == blake2b(made).hex()
    signature = KEY.sign(transaction.transaction_body.hash()).signature
    try:
        VerifyKey(bytes(KEY.verify_key)).verify(blake2b(made), signature)
        valid = True
    except BadSignatureError:
        valid = False
    print(f"{name}: the id is {'right' if same else 'another'}, the signature {'valid' if valid else 'for another'}")
    failed |= (same, valid) != (expected, expected)

DATUMS = {
    "fields of unknown length": ("d8799f0102ff", True),
    "fields of known length": ("d879820102", False),
    "a list of known length as a map's value": ("a101820102", False),
    "65 bytes in two chunks": ("5f5840" + "07" * 64 + "4107ff", False),
}
for name, (datum, expected) in DATUMS.items():
    read = RawPlutusData.from_cbor(datum)
    same = bytes(datum_hash(read)) == blake2b(bytes.fromhex(datum))
    print(f"datum, {name}: the hash is {'right' if same else 'that of ' + read.to_cbor_hex()[:20]}")
    failed |= same != expected
assert not failed, "it behaves otherwise than stated"
PYTHON
