#!/usr/bin/env bash
# The hash that names a file in the eDonkey network and in AniDB (ed2k), computed by two Python libraries.
#
# ed2k 0.0.2.2 (python-filewrap 0.2.6.1, iterdir 0.0.6) and anidbcli 1.68; pycryptodome 3.24.1 has their MD4. By definition a file
# is cut into chunks of 9,728,000 bytes. The hash of one chunk is its MD4; that of several is the MD4 of the chunks' MD4s. After a
# full last chunk comes an empty one.
#
# Expected: both compute it alike, except perhaps for a multiple of 9,728,000 bytes, where old clients differ too.
# Seen:     there they agree, and for all longer files. For each file below 9,728,000 bytes ed2k hashes the MD4 once more, and so
#           it does for the empty file. No error says so: the link looks right and names a file that no peer has. Films pass the
#           test; their subtitles, covers and samples do not. All three ways to the hash, at once, from a file and in pieces,
#           do the same.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary ed2k==0.0.2.2 python-filewrap==0.2.6.1 \
    iterdir==0.0.6 anidbcli==1.68 pycryptodome==3.24.1
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
from anidbcli.libed2k import hash_file
from Crypto.Hash import MD4
from ed2k import Ed2kHash, ed2k_hash

CHUNK, PIECE = 9_728_000, 1 << 20


def md4(data):
    return MD4.new(data).digest()


def defined(data):
    hashes = [md4(data[at : at + CHUNK]) for at in range(0, len(data) + 1, CHUNK)]
    return (hashes[0] if len(hashes) == 1 else md4(b"".join(hashes))).hex()


for size in [0, 1, 700, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5]:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    with open("data", "wb") as file:
        file.write(data)
    pieces = Ed2kHash()
    for at in range(0, size, PIECE):
        pieces.update(data[at : at + PIECE])
    with open("data", "rb") as file:
        found = {ed2k_hash(data)[1], ed2k_hash(file)[1], pieces.hexdigest()}
    right = defined(data)
    print(f"{size} bytes: anidbcli {hash_file('data')}, ed2k", *found)
    assert hash_file("data") == right
    assert found == {right if size >= CHUNK else md4(bytes.fromhex(right)).hex()}
PYTHON
