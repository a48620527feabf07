#!/usr/bin/env bash
# The hash that names a torrent (v1: the SHA-1 of its info dictionary), computed by two Python libraries for torrents that
# libtorrent made: v1, v1 with the SHA-1 of its file (BEP 47), and hybrid (BEP 52).
#
# torrentool 1.2.0, torf 4.3.1 and libtorrent 2.1.1. No network.
#
# Expected: all three give the same hash: info is hashed as it is.
# Seen:     libtorrent and torf do, and torrentool for plain v1. torrentool reads each string but `pieces` as UTF-8, puts U+FFFD
#           where that fails, and hashes what it then writes. The roots of BEP 52 and the hash of BEP 47 are bytes, so the hash
#           of each hybrid torrent is wrong, and so is its magnet link, which finds no peer. `to_file` writes roots that are
#           longer than 32 bytes, and libtorrent refuses the torrent. No error of torrentool says so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary torrentool==1.2.0 torf==4.3.1 libtorrent==2.1.1
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import hashlib
import io
import os

import libtorrent
import torf
from torrentool.api import Torrent

PIECE = 32_768
CONTENT = bytes(at % 251 for at in range(3 * PIECE + 5))
os.mkdir("two")
for path in ["one", "two/first", "two/second"]:
    with open(path, "wb") as file:
        file.write(CONTENT + path.encode())


def made(path, flags, sha1=False):
    files = libtorrent.file_storage()
    libtorrent.add_files(files, path)
    torrent = libtorrent.create_torrent(files, PIECE, flags)
    libtorrent.set_piece_hashes(torrent, ".")
    meta = torrent.generate()
    if sha1:
        with open(path, "rb") as file:
            meta[b"info"][b"sha1"] = hashlib.sha1(file.read()).digest()
    return libtorrent.bencode(meta)


def by_libtorrent(data):
    try:
        return str(libtorrent.torrent_info(libtorrent.bdecode(data)).info_hashes().v1)
    except RuntimeError as error:
        return str(error)


v1 = libtorrent.create_torrent.v1_only
for name, data, right in [
    ("v1", made("one", v1), True),
    ("v1, two files", made("two", v1), True),
    ("v1 with sha1", made("one", v1, sha1=True), False),
    ("hybrid", made("one", 0), False),
    ("hybrid, two files", made("two", 0), False),
]:
    info = hashlib.sha1(libtorrent.bencode(libtorrent.bdecode(data)[b"info"])).hexdigest()
    read = Torrent.from_string(data)
    read.to_file("again.torrent")
    with open("again.torrent", "rb") as file:
        again = by_libtorrent(file.read())
    print(f"{name}: {info[:12]}, torrentool {read.info_hash[:12]}; written again, libtorrent: {again[:40]}")
    assert by_libtorrent(data) == torf.Torrent.read_stream(io.BytesIO(data)).infohash == info
    assert (read.info_hash == info) == (again == info) == (info in read.magnet_link) == right
    assert ("no root hash" in again) == name.startswith("hybrid")
PYTHON
