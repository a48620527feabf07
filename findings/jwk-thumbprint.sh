#!/usr/bin/env bash
# A public key as a JWK, and the JWK's thumbprint (RFC 7638), by which ACME, DPoP and did:jwk know a key, from five Python
# libraries for JOSE.
#
# authlib 1.9.10 (whose JOSE is to make way for joserfc), cryptojwt 1.11.0, joserfc 1.8.0, jwcrypto 1.6.1 and josepy 2.2.0
# (certbot's), with cryptography 50.0.2. 1,000 keys by a fixed seed for each of P-256 and P-521. By RFC 7518 (6.2.1.2) x and y have
# the curve's full length, 32 and 66 bytes.
#
# Expected: all write the same JWK of a key, and so the same thumbprint.
# Seen:     three do. authlib cuts the zeros from the front of x and y: of P-256 one key in 128 has such, but of P-521, whose
#           first byte is 0 or 1, three in four. cryptojwt is right with P-256, and takes 65 bytes for the length of P-521, so it
#           cuts there, too. No error says so, and both read their own. josepy refuses such a JWK. joserfc and jwcrypto read it
#           and give a thumbprint that is not the key's: an account or a bound token is not found, and a test with a few keys on
#           P-256 finds nothing.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
    authlib==1.9.10 cryptojwt==1.11.0 joserfc==1.8.0 jwcrypto==1.6.1 josepy==2.2.0 cryptography==50.0.2
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import base64
import hashlib
import json
import random
from collections import Counter

import josepy
import joserfc.jwk
import jwcrypto.jwk
from authlib.jose import JsonWebKey
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptojwt.jwk.ec import ECKey

KEYS = 1000
CURVES = {"P-256": (ec.SECP256R1(), 32), "P-521": (ec.SECP521R1(), 66)}
ORDERS = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-521": (1 << 521) - (1 << 260),  # a little less than the order
}


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def thumbprint(jwk):
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return text(hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest())


def by_authlib(key, pem):
    read = JsonWebKey.import_key(pem, {"kty": "EC"})
    return read.as_dict(), read.thumbprint()


def by_cryptojwt(key, pem):
    read = ECKey().load_key(key)
    return read.serialize(), read.thumbprint("SHA-256").decode()


def by_joserfc(key, pem):
    read = joserfc.jwk.ECKey.import_key(pem)
    return read.as_dict(), read.thumbprint()


def by_jwcrypto(key, pem):
    read = jwcrypto.jwk.JWK.from_pem(pem)
    return json.loads(read.export_public()), read.thumbprint()


def by_josepy(key, pem):
    read = josepy.JWKEC(key=key)
    return read.to_json(), text(read.thumbprint())


def refused_by_josepy(jwk):
    try:
        josepy.JWK.from_json(jwk)
    except josepy.errors.DeserializationError:
        return True
    return False


LIBRARIES = {name[3:]: call for name, call in globals().items() if name.startswith("by_")}
for curve, (kind, size) in CURVES.items():
    draw = random.Random(curve)
    wrong = Counter()
    short = 0
    for _ in range(KEYS):
        key = ec.derive_private_key(draw.randrange(1, ORDERS[curve]), kind).public_key()
        numbers = key.public_numbers()
        right = {"crv": curve, "kty": "EC"} | {at: text(getattr(numbers, at).to_bytes(size, "big")) for at in "xy"}
        zero = min(numbers.x, numbers.y) >> 8 * (size - 1) == 0
        short += zero
        for name, library in LIBRARIES.items():
            jwk, thumb = library(key, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
            jwk = {member: jwk[member] for member in right}
            same = jwk == right
            assert (thumb == thumbprint(right)) == same and thumb == thumbprint(jwk)
            wrong[name] += not same
            if same:
                continue
            assert zero and refused_by_josepy(jwk)
            assert joserfc.jwk.ECKey.import_key(jwk).thumbprint() == jwcrypto.jwk.JWK(**jwk).thumbprint() == thumb
    print(f"{curve}: {short} of {KEYS} keys have x or y with a zero in front; wrong:", dict(+wrong))
    assert (2 < short < 20) if curve == "P-256" else (700 < short < 800)
    assert +wrong == ({"authlib": short} if curve == "P-256" else {"authlib": short, "cryptojwt": short})
PYTHON
