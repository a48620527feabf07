#!/usr/bin/env bash
# Magnet links, as BEP 9, 52 and 53 write them, read by two Python libraries for BitTorrent.
#
# torf 4.3.1 and libtorrent 2.1.1. Nothing is downloaded; there is no network.
#
# Expected: both read each link, and ignore parameters that they do not know.
# Seen:     libtorrent does. torf refuses a whole link for one parameter that is not on its list: the peers of BEP 9 (x.pe), the
#           files to select of BEP 53 (so), numbered trackers (tr.1), and any other. It refuses each link that has a v2 hash
#           (urn:btmh), so also those of a hybrid torrent, which carry the v1 hash that it needs. And a link with a fallback
#           address, as=, is written back as as_=, which torf itself then refuses.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check torf==4.3.1 libtorrent==2.1.1
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import libtorrent
import torf

V1, V2 = bytes(range(20)).hex(), bytes(range(100, 132)).hex()
HASH, SECOND = f"xt=urn:btih:{V1}", f"xt=urn:btmh:1220{V2}"
# What follows magnet:?, and whether torf reads it.
LINKS = {
    HASH: True,
    f"{HASH}&dn=a%20name&tr=udp%3A%2F%2Ftracker.example%3A80&ws=http%3A%2F%2Fseed.example%2Ff": True,
    f"{HASH}&as=http%3A%2F%2Fseed.example%2Ff": True,
    f"{HASH}&x.pe=192.0.2.1:6881": False,
    f"{HASH}&so=0,2,4-6": False,
    f"{HASH}&tr.1=udp%3A%2F%2Ftracker.example%3A80": False,
    f"{HASH}&unknown=1": False,
    f"{HASH}&{SECOND}": False,
    SECOND: False,
}


def by_torf(link):
    try:
        return torf.Magnet.from_string(link), ""
    except torf.MagnetError as error:
        return None, str(error).rpartition(": ")[2]


for rest, expected in LINKS.items():
    link = "magnet:?" + rest
    hashes = libtorrent.parse_magnet_uri(link).info_hashes
    assert (str(hashes.v1) == V1) == (HASH in rest) and (str(hashes.v2) == V2) == (SECOND in rest), "libtorrent"
    read, error = by_torf(link)
    print(f"{rest.replace(V1, 'V1').replace(V2, 'V2')}: {'read' if read else error}")
    assert bool(read) == expected and (not read or read.infohash == V1)
read, _ = by_torf(f"magnet:?{HASH}&as=http%3A%2F%2Fseed.example%2Ff")
written = str(read)
print("as= written back:", written.rpartition("&")[2], "and read again:", by_torf(written)[1])
assert written.endswith("&as_=http%3A%2F%2Fseed.example%2Ff") and by_torf(written) == (None, "Unknown parameter")
PYTHON
