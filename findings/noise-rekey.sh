#!/usr/bin/env bash
# Two Python implementations of Noise talk to each other: a handshake, messages, then Rekey() on both sides.
#
# dissononce 0.34.3 and noiseprotocol 0.3.1, ChaChaPoly and AESGCM, pattern NN. By the specification, REKEY(k) is the first
# 32 bytes of an encryption of 32 zeros, and Rekey() leaves the nonce unchanged.
#
# Expected: messages continue after Rekey(), as both document it.
# Seen:     they do not. dissononce keeps the tag as well, so its key has 48 bytes, and the next message in either direction
#           raises ValueError. With that key cut to 32 bytes, the first message still fails unless none came before, because
#           dissononce resets the nonce to 0. With the nonce restored as well, both agree.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet dissononce==0.34.3 noiseprotocol==0.3.1 cryptography==50.0.2
"$dir/venv/bin/python" - <<'PYTHON'
from dissononce.cipher.aesgcm import AESGCMCipher
from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.hash.sha256 import SHA256Hash
from dissononce.processing.handshakepatterns.interactive.NN import NNHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState
from noise.connection import NoiseConnection


def connect(cipher, name):
    here = NoiseConnection.from_name(f"Noise_NN_25519_{name}_SHA256".encode())
    here.set_as_initiator()
    here.start_handshake()
    there = HandshakeState(SymmetricState(CipherState(cipher()), SHA256Hash()), X25519DH())
    there.initialize(NNHandshakePattern(), False, b"")
    there.read_message(bytes(here.write_message()), bytearray())
    answer = bytearray()
    receiving, _ = there.write_message(b"", answer)
    here.read_message(bytes(answer))
    return here, receiving


def outcome(receiving, sealed):
    try:
        return receiving.decrypt_with_ad(b"", sealed).decode()
    except Exception as error:
        return type(error).__name__


for cipher, name in [(ChaChaPolyCipher, "ChaChaPoly"), (AESGCMCipher, "AESGCM")]:
    for before in (0, 2):
        here, receiving = connect(cipher, name)
        for _ in range(before):
            assert outcome(receiving, bytes(here.encrypt(b"before"))) == "before"
        here.rekey_outbound_cipher()
        sealed = bytes(here.encrypt(b"after"))
        receiving.rekey()
        length = len(receiving._key)
        seen = [outcome(receiving, sealed)]
        receiving.initialize_key(receiving._key[:32])
        seen.append(outcome(receiving, sealed))
        receiving.set_nonce(before)
        seen.append(outcome(receiving, sealed) if before else "-")
        print(f"{name}, {before} messages before: a key of {length} bytes: {seen[0]}")
        print(f"  cut to 32: {seen[1]}; nonce put back: {seen[2]}")
        assert length == 48 and seen[0] == "ValueError"
        assert seen[1:] == (["after", "-"] if before == 0 else ["DecryptFailedException", "after"])
PYTHON
