"""A second WebRTC stack, aiortc, in a browser's place: it dials a node as docs/protocol.md says, and checks that the node
answers as the node of the address.

Usage: page.py MULTIADDR
"""

import asyncio
import base64
import hashlib
import hmac
import re
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

PATIENCE = 15


def parse(address: str) -> tuple[str, int, bytes]:
    """IP, port and certificate hash of a multiaddr."""
    found = re.fullmatch(r"/ip[46]/([^/]+)/udp/(\d+)/webrtc-direct/certhash/u([\w-]+)", address)
    assert found, f"{address} is not an address"
    multihash = base64.urlsafe_b64decode(found[3] + "=" * (-len(found[3]) % 4))
    assert multihash[:2] == b"\x12\x20" and len(multihash) == 34, multihash
    return found[1], int(found[2]), multihash[2:]


def answer(ip: str, port: int, certhash: bytes, ufrag: str) -> str:
    """The node's side of the session description, which the page writes itself."""
    family = "IP6" if ":" in ip else "IP4"
    fingerprint = ":".join(f"{byte:02X}" for byte in certhash)
    lines = [
        "v=0",
        "o=- 0 0 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        f"c=IN {family} {ip}",
        "a=mid:0",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{ufrag}",
        f"a=fingerprint:sha-256 {fingerprint}",
        "a=setup:passive",
        "a=sctp-port:5000",
        "a=max-message-size:262144",
        f"a=candidate:1 1 udp 2130706431 {ip} {port} typ host",
    ]
    return "".join(line + "\r\n" for line in lines)


class Initiator:
    """The dialling side of Noise_XX_25519_ChaChaPoly_SHA256, up to the second message."""

    def __init__(self, prologue: bytes) -> None:
        name = b"Noise_XX_25519_ChaChaPoly_SHA256"
        self.hash = self.chain = name
        self.ephemeral = X25519PrivateKey.generate()
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        key = hmac.digest(self.chain, secret, "sha256")
        self.chain = hmac.digest(key, b"\x01", "sha256")
        self.key = hmac.digest(key, self.chain + b"\x02", "sha256")

    def open(self, sealed: bytes) -> bytes:
        """Decrypts with the first number of a key."""
        plain = ChaCha20Poly1305(self.key).decrypt(bytes(12), sealed, self.hash)
        self.mix_hash(sealed)
        return plain

    def first(self) -> bytes:
        public = self.ephemeral.public_key().public_bytes_raw()
        self.mix_hash(public)
        self.mix_hash(b"")
        return public

    def second(self, message: bytes) -> bytes:
        """Reads the node's message: answers its static public key."""
        assert len(message) == 96, len(message)
        theirs = message[:32]
        self.mix_hash(theirs)
        self.mix_key(self.ephemeral.exchange(X25519PublicKey.from_public_bytes(theirs)))
        static = self.open(message[32:80])
        self.mix_key(self.ephemeral.exchange(X25519PublicKey.from_public_bytes(static)))
        assert self.open(message[80:]) == b""
        return static


async def dial(address: str) -> None:
    ip, port, certhash = parse(address)
    page = RTCPeerConnection()
    channel = page.createDataChannel("cairn", negotiated=True, id=0)
    is_open, received = asyncio.Event(), asyncio.Queue()
    channel.on("open", is_open.set)
    channel.on("message", received.put_nowait)
    await page.setLocalDescription(await page.createOffer())
    offer = page.localDescription.sdp
    password = re.search(r"a=ice-pwd:(\S+)", offer)[1]
    fingerprint = bytes.fromhex(re.search(r"a=fingerprint:sha-256 (\S+)", offer)[1].replace(":", ""))
    ufrag = "1" + base64.b64encode(fingerprint).decode().rstrip("=") + password
    await page.setRemoteDescription(RTCSessionDescription(answer(ip, port, certhash, ufrag), "answer"))
    await asyncio.wait_for(is_open.wait(), PATIENCE)
    noise = Initiator(b"cairn webrtc 1" + certhash + fingerprint)
    channel.send(noise.first())
    message = b""
    while len(message) < 96:
        message += await asyncio.wait_for(received.get(), PATIENCE)
    print(hashlib.sha256(noise.second(message)).hexdigest())
    await page.close()


asyncio.run(dial(sys.argv[1]))
