#!/usr/bin/env bash
# A mutable item of BitTorrent's DHT (BEP 44), signed by libtorrent with an Ed25519 key that PyNaCl made.
#
# libtorrent 2.1.1 and PyNaCl 1.6.2; three sessions on 127.0.0.1 that know each other. Each item is checked with PyNaCl.
#
# Expected: `dht_put_mutable_item` wants 64 bytes of secret key, so it wants those that NaCl calls the secret key, the seed and
#           the public key, as Go and most libraries keep them. Another form would be refused.
# Seen:     it wants the other 64 bytes, the seed's SHA-512 with five bits set or cleared, and libtorrent's Python has no
#           function that makes them. With NaCl's key it signs, and the signature is wrong. All nodes refuse it, but the alert
#           says "DHT put complete", and only its success=0 tells that no node has the item. With the other form the
#           nodes store the item, and PyNaCl finds the signature right.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check libtorrent==2.1.1 PyNaCl==1.6.2
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import hashlib
import time

import libtorrent
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

SETTINGS = {"enable_dht": True, "dht_bootstrap_nodes": "", "listen_interfaces": "127.0.0.1:0"}
SETTINGS |= dict.fromkeys(["enable_lsd", "enable_upnp", "enable_natpmp", "dht_enforce_node_id"], False)
SETTINGS |= dict.fromkeys(["dht_restrict_routing_ips", "dht_restrict_search_ips", "dht_ignore_dark_internet"], False)
SETTINGS["alert_mask"] = libtorrent.alert.category_t.all_categories
KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)


def wait(session, kind):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        session.wait_for_alert(1_000)
        for alert in session.pop_alerts():
            if isinstance(alert, kind):
                return alert
    raise AssertionError(f"no {kind.__name__} within a minute")


def expanded(seed):
    digest = bytearray(hashlib.sha512(seed).digest())
    digest[0] &= 0b11111000
    digest[31] = digest[31] & 0b01111111 | 0b01000000
    return bytes(digest)


def put(secret, salt):
    """How many nodes stored the item, and whether its signature is right."""
    writer.dht_put_mutable_item(secret, PUBLIC, b"hello", salt)
    alert = wait(writer, libtorrent.dht_put_alert)
    signed = b"4:salt%d:%s3:seqi%de1:v5:hello" % (len(salt), salt, alert.seq)
    try:
        KEY.verify_key.verify(signed, bytes(alert.signature))
        return alert, True
    except BadSignatureError:
        return alert, False


def get(salt):
    reader.dht_get_mutable_item(PUBLIC, salt)
    while True:
        alert = wait(reader, libtorrent.dht_mutable_item_alert)
        if alert.item or alert.authoritative:
            return alert.item


sessions = [libtorrent.session(SETTINGS) for _ in range(3)]
for session in sessions:
    while not session.listen_port():
        session.wait_for_alert(1_000)
        session.pop_alerts()
for session in sessions:
    for other in sessions:
        if other is not session:
            session.add_dht_node(("127.0.0.1", other.listen_port()))
writer, reader, _ = sessions
# Until the nodes know each other, no node stores anything.
while put(expanded(bytes(KEY)), b"first")[0].num_success < 2:
    time.sleep(0.1)

for name, secret, right in [("NaCl's", bytes(KEY) + PUBLIC, False), ("expanded", expanded(bytes(KEY)), True)]:
    alert, valid = put(secret, name.encode())
    item = get(name.encode())
    print(f"{name}: {alert.message()[:28]}, signature {'right' if valid else 'wrong'}; read: {item}")
    assert len(secret) == 64 and valid == right and (alert.num_success > 0) == right
    assert item == (b"hello" if right else b"") and alert.message().startswith("DHT put complete")
PYTHON
