#!/usr/bin/env bash
# Three parts of a multiaddr that libp2p's peers write, in the Python library: the zone of a link-local IPv6 address, a peer id
# as a CID, the hash of a WebRTC or WebTransport certificate.
#
# multiaddr 0.2.0 (with py-multibase 2.0.0, py-cid 0.5.0). By multiaddr's table the zone has a length before it, p2p holds the
# multihash in whichever form the peer id is written, and certhash is a multihash in any multibase.
#
# Expected: the parts of an address are those of its text; equal peers have equal bytes; each valid text is read.
# Seen:     the text is kept, so it looks right. But the parts are read without the zone's length: of the zone eth0, of four
#           letters, `items()` makes the IPv4 address 101.116.104.48, the letters, since the length 4 is the code of ip4. Of
#           wlan0 it makes a BinaryParseError. So a program that looks for an IPv4 address finds one that is not there. A peer
#           id as a CID is stored with the CID's four bytes, so that the address differs from the same one in base58, and other
#           libp2p peers cannot read it, though its text is the same. A certhash in base32 is refused.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check multiaddr==0.2.0 py-multibase==2.0.0 python-baseconv==1.2.2 \
    morphys==1.0 py-multicodec==1.0.0 py-multihash==3.0.0 py-cid==0.5.0 base58==2.1.1 varint==1.0.2
"$dir/venv/bin/python" - <<'PYTHON'
import base64
import hashlib
import ipaddress

import base58
from multiaddr import Multiaddr
from multiaddr.exceptions import BinaryParseError, StringParseError

IP6, TCP = b"\x29" + ipaddress.ip_address("fe80::1").packed, b"\x06\x0f\xa1"


def parts(text):
    try:
        return [(protocol.name, value) for protocol, value in Multiaddr(text).items()]
    except BinaryParseError as error:
        return str(error).partition(" (")[0]


END = [("ip6", "fe80::1"), ("tcp", "4001")]
for zone, expected in {
    "eth0": [("ip6zone", None), ("ip4", "101.116.104.48"), *END],
    "wlan0": "Invalid binary MultiAddr protocol 5: Unknown Protocol",
    "2": "Invalid binary MultiAddr protocol 1: Unknown Protocol",
}.items():
    text = f"/ip6zone/{zone}/ip6/fe80::1/tcp/4001"
    address = Multiaddr(text)
    seen = parts(text)
    print(f"{text}\n  {seen}")
    assert address.to_bytes() == b"\x2a" + bytes([len(zone)]) + zone.encode() + IP6 + TCP and str(address) == text
    assert seen == expected
print(Multiaddr("/ip6zone/eth0/ip6/fe80::1/tcp/4001").value_for_protocol("ip4"), "is its ip4")
assert parts("/ip6/fe80::1/tcp/4001") == END

digest = b"\x12\x20" + hashlib.sha256(b"key").digest()
cid = "b" + base64.b32encode(b"\x01\x72" + digest).decode().lower().rstrip("=")
plain, other = Multiaddr("/p2p/" + base58.b58encode(digest).decode()), Multiaddr("/p2p/" + cid)
print(f"one peer, {plain}\n  {plain.to_bytes().hex()[:20]}... in base58\n  {other.to_bytes().hex()[:20]}... as a CID")
assert str(plain) == str(other) and plain != other
assert plain.to_bytes() == b"\xa5\x03\x22" + digest and other.to_bytes() == b"\xa5\x03\x24\x01\x72" + digest

texts = {"u": base64.urlsafe_b64encode(digest).decode(), "b": base64.b32encode(digest).decode().lower()}
for prefix, text in texts.items():
    address = f"/ip4/127.0.0.1/udp/1234/webrtc-direct/certhash/{prefix}{text.rstrip('=')}"
    try:
        read = Multiaddr(address).to_bytes()
        assert prefix == "u" and read.endswith(b"\xd2\x03\x22" + digest)
    except StringParseError as error:
        print("certhash in base32:", str(error).rpartition("': ")[2])
        assert prefix == "b" and "must use base64url" in str(error)
PYTHON
