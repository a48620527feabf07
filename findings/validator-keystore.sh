#!/usr/bin/env bash
# The keystore of an Ethereum validator (EIP-2335, version 4), written with one of two Python libraries and opened with both.
#
# eth-keyfile 0.10.0, which eth-account stands on, and ethstaker-deposit 1.3.1, by which stakers make their keys. By the EIP a
# password is normalised (NFKD), and control codes are dropped from it, among them the newline at the end of a password file.
#
# Expected: each opens what either wrote with the password that it was written with.
# Seen:     so it is with the password in plain letters. With an accent, with a ligature or with a newline at its end,
#           ethstaker-deposit opens both. eth-keyfile opens neither, not even what it wrote itself a moment ago: it prepares the
#           password by the EIP when it writes and takes it as it is when it reads. What it says, "Checksum mismatch", is what
#           it says of a wrong password. The EIP's own password is such a one. So a backup is locked for the program that made
#           it; to open it, the password must be prepared by hand. Its keystores of version 3 have no such rule, and open.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check eth-keyfile==0.10.0 ethstaker-deposit==1.3.1
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import json
import unicodedata

from eth_keyfile import create_keyfile_json, decode_keyfile_json
from eth_keyfile.exceptions import EthKeyfileValueError
from ethstaker_deposit.key_handling.keystore import Keystore, Pbkdf2Keystore

KEY = bytes(range(1, 33))
PATH = "m/12381/3600/0/0/0"
EIPS = "".join(chr(ord(each) + 0x1D51E - ord("a")) for each in "testpassword") + "\U0001f511"
# A password, and whether eth-keyfile opens what was written with it.
PASSWORDS = {
    "correct horse battery": True,
    "caf\u00e9 au lait": False,
    "\ufb01nal answer": False,
    "from a file\n": False,
    EIPS: False,
}


def by_keyfile(store, password):
    try:
        return decode_keyfile_json(store, password.encode()) == KEY
    except EthKeyfileValueError as error:
        assert str(error) == "Checksum mismatch"
        return False


def by_ethstaker(store, password):
    return Keystore.from_json(json.loads(json.dumps(store))).decrypt(password) == KEY


def prepared(password):
    return "".join(each for each in unicodedata.normalize("NFKD", password) if unicodedata.category(each) != "Cc")


for password, opens in PASSWORDS.items():
    own = create_keyfile_json(KEY, password.encode(), version=4, path=PATH, iterations=1 << 18)
    other = json.loads(Pbkdf2Keystore.encrypt(secret=KEY, password=password, path=PATH).as_json())
    for writer, store in {"eth-keyfile": own, "ethstaker-deposit": other}.items():
        found = by_keyfile(store, password)
        print(f"{ascii(password)}, written by {writer}: opened by {'both' if found else 'ethstaker-deposit alone'}")
        assert by_ethstaker(store, password) and by_keyfile(store, prepared(password))
        assert found == opens
    assert by_keyfile(create_keyfile_json(KEY, password.encode(), version=3, iterations=1000), password)
PYTHON
