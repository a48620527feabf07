#!/usr/bin/env bash
# A BitTorrent v2 torrent of one file (BEP 52), made by torrentfile, and libtorrent's check of that very file.
#
# torrentfile 0.9.2 (with pyben 0.3.2) and libtorrent 2.1.1; libtorrent's own torrents of the same file beside them. No network.
#
# Expected: libtorrent finds the file complete, as v2 and as hybrid, whatever its size: the Merkle roots are right.
# Seen:     with two files it does. With one it does only for a hybrid whose last piece is full. torrentfile writes v1's
#           `length` into a torrent that is v2 only, so libtorrent takes it for a hybrid without v1 hashes, and no piece
#           matches. In a hybrid torrentfile pads the last piece with zeros before hashing it, though a single file has no
#           padding in v1. No error says so: libtorrent adds the torrent, checks it, and goes on "downloading".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet torrentfile==0.9.2 pyben==0.3.2 libtorrent==2.1.1
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import hashlib
import os
import tempfile

import libtorrent
from torrentfile.torrent import TorrentFileHybrid, TorrentFileV2

BLOCK, PIECE = 16384, 32768
SETTINGS = dict.fromkeys(["enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"], False)
SETTINGS |= {"listen_interfaces": "127.0.0.1:0", "alert_mask": libtorrent.alert.category_t.all_categories}


def merkle_root(data):
    nodes = [hashlib.sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
    while len(nodes) & (len(nodes) - 1):
        nodes.append(bytes(32))
    while len(nodes) > 1:
        nodes = [hashlib.sha256(left + right).digest() for left, right in zip(nodes[::2], nodes[1::2])]
    return nodes[0]


def made_by_torrentfile(kind, path):
    target = os.path.join(tempfile.mkdtemp(dir="."), "made.torrent")
    kind(path=path, piece_length=PIECE, outfile=target, progress=0).write()
    with open(target, "rb") as file:
        return libtorrent.bdecode(file.read())


def made_by_libtorrent(path, flags):
    files = libtorrent.file_storage()
    libtorrent.add_files(files, path)
    torrent = libtorrent.create_torrent(files, PIECE, flags)
    libtorrent.set_piece_hashes(torrent, os.path.dirname(path))
    return torrent.generate()


def pieces_found(meta, directory):
    """Pieces that libtorrent finds on the disk, and how many the torrent has."""
    session = libtorrent.session(SETTINGS)
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(meta)
    parameters.save_path = directory
    handle = session.add_torrent(parameters)
    while not any(isinstance(alert, libtorrent.torrent_checked_alert) for alert in session.pop_alerts()):
        assert session.wait_for_alert(60_000), "no check within a minute"
    return handle.status().num_pieces, parameters.ti.num_pieces()


for sizes in [(5,), (PIECE,), (PIECE + 1,), (3 * PIECE,), (PIECE + 5, 100)]:
    directory = os.path.abspath(tempfile.mkdtemp(dir="."))
    path = os.path.join(directory, "data")
    contents = [bytes(at % 251 for at in range(size)) for size in sizes]
    if len(sizes) > 1:
        os.mkdir(path)
    for number, content in enumerate(contents):
        with open(os.path.join(path, f"{number}") if len(sizes) > 1 else path, "wb") as file:
            file.write(content)

    v2, hybrid = made_by_torrentfile(TorrentFileV2, path), made_by_torrentfile(TorrentFileHybrid, path)
    found = {"v2": pieces_found(v2, directory), "hybrid": pieces_found(hybrid, directory)}
    for flags in (libtorrent.create_torrent.v2_only, 0):
        have, total = pieces_found(made_by_libtorrent(path, flags), directory)
        assert have == total, "libtorrent's own"
    print(f"{sizes}: " + ", ".join(f"{kind} {have} of {total} pieces" for kind, (have, total) in found.items()))

    pieces = sum(-(-size // PIECE) for size in sizes)
    if len(sizes) > 1:
        assert found == {"v2": (pieces, pieces), "hybrid": (pieces, pieces)}
        continue
    assert v2[b"info"][b"file tree"][b"data"][b""][b"pieces root"] == merkle_root(contents[0])
    assert found == {"v2": (0, pieces), "hybrid": (sizes[0] // PIECE, pieces)}
    # Without v1's key the v2 torrent is complete; so is the hybrid with the hash of the last piece as it is.
    del v2[b"info"][b"length"]
    assert pieces_found(v2, directory) == (pieces, pieces)
    last = contents[0][(pieces - 1) * PIECE :]
    hashes = hybrid[b"info"][b"pieces"]
    assert hashes[-20:] == hashlib.sha1(last.ljust(PIECE, b"\0")).digest()
    hybrid[b"info"][b"pieces"] = hashes[:-20] + hashlib.sha1(last).digest()
    assert pieces_found(hybrid, directory) == (pieces, pieces)
PYTHON
