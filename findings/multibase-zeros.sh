#!/usr/bin/env bash
# Multibase in two Python libraries: the same bytes in ten bases, written and read by each.
#
# py-multibase 2.0.0 and multiformats 0.3.1.post4. By the specification, bases of a power of two group bits as RFC 4648 does, and
# the others keep leading zeros as base58 does. The script does both; the texts of "yes mani !" are the specification's.
#
# Expected: both write the same text, and read each other's.
# Seen:     multiformats does, but for the "=" with which it pads base8. py-multibase is right in base32 and base64 only. In all
#           others it takes the bytes for a number, and drops leading zeros, even those of base16, which it writes right and
#           reads wrong. In base2, base8 and base32z other bytes may suffer, too. No error says so. Each Ed25519 peer id
#           begins with a zero: z12D3KooW... is read as 37 of its 38 bytes, and written as z2D3KooW..., which no other peer
#           takes for that peer.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check py-multibase==2.0.0 python-baseconv==1.2.2 morphys==1.0 \
    multiformats==0.3.1.post4 multiformats-config==0.3.1
"$dir/venv/bin/python" - <<'PYTHON'
import string

import multibase
from multiformats import multibase as other

DIGITS, LOWER, UPPER = string.digits, string.ascii_lowercase, string.ascii_uppercase
BASE58 = "".join(one for one in DIGITS[1:] + UPPER + LOWER if one not in "IOl")
BASES = {
    "base2": ("0", DIGITS[:2]),
    "base8": ("7", DIGITS[:8]),
    "base10": ("9", DIGITS),
    "base16": ("f", DIGITS + LOWER[:6]),
    "base32": ("b", LOWER + DIGITS[2:8]),
    "base32z": ("h", "ybndrfg8ejkmcpqxot1uwisza345h769"),
    "base36": ("k", DIGITS + LOWER),
    "base58btc": ("z", BASE58),
    "base64": ("m", UPPER + LOWER + DIGITS + "+/"),
    "base64url": ("u", UPPER + LOWER + DIGITS + "-_"),
}
PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
SAMPLES = [b"yes mani !", b"\0yes mani !", b"\0\0yes mani !"]


def right(name, data):
    prefix, digits = BASES[name]
    width = len(digits).bit_length() - 1
    if len(digits) == 1 << width:  # groups of bits
        bits = "".join(f"{byte:08b}" for byte in data)
        groups = [bits[at : at + width].ljust(width, "0") for at in range(0, len(bits), width)]
        return prefix + "".join(digits[int(group, 2)] for group in groups)
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, len(digits))
        text = digits[digit] + text
    return prefix + digits[0] * (len(data) - len(data.lstrip(b"\0"))) + text


assert right("base8", SAMPLES[0]) == "7362625631006654133464440102"
assert right("base36", SAMPLES[0]) == "k2lcpzo5yikidynfl"
assert right("base58btc", SAMPLES[1]) == "z17paNL19xttacUY"
assert right("base64", SAMPLES[2]) == "mAAB5ZXMgbWFuaSAh"


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:
        return repr(error)


def verdict(name, write, read):
    """For no, one and two leading zeros: whether the text is right, and whether the right text is read."""
    texts = [right(name, data) for data in SAMPLES]
    wrote = [attempt(write, name, data) == text for data, text in zip(SAMPLES, texts)]
    return wrote, [attempt(read, text) == data for data, text in zip(SAMPLES, texts)]


RIGHT, ONLY_FIRST, WRONG = [True] * 3, [True, False, False], [False] * 3
OTHERWISE = {
    ("base2", "py-multibase"): (WRONG, ONLY_FIRST),
    ("base8", "py-multibase"): (WRONG, WRONG),
    ("base8", "multiformats"): ([False, False, True], RIGHT),
    ("base16", "py-multibase"): (RIGHT, ONLY_FIRST),
    **{(name, "py-multibase"): (ONLY_FIRST, ONLY_FIRST) for name in ("base10", "base32z", "base36", "base58btc")},
}
LIBRARIES = {
    "py-multibase": (lambda name, data: multibase.encode(name, data).decode(), multibase.decode),
    "multiformats": (lambda name, data: other.encode(data, name), other.decode),
}
failed = False
print("Right with no, one and two leading zeros:")
for name in BASES:
    for library, (write, read) in LIBRARIES.items():
        wrote, got = verdict(name, write, read)
        if (wrote, got) != (RIGHT, RIGHT):
            print(f"  {name}, {library}: written {wrote}, read {got}")
        failed |= (wrote, got) != OTHERWISE.get((name, library), (RIGHT, RIGHT))

peer = other.decode("z" + PEER)
read, written = multibase.decode("z" + PEER), multibase.encode("base58btc", peer).decode()
print(f"peer id of {len(peer)} bytes: read as {len(read)}, written as {written}")
assert right("base58btc", peer) == "z" + PEER and read == peer[1:] and written == "z" + PEER[1:]
assert not failed, "it behaves otherwise than stated"
PYTHON
