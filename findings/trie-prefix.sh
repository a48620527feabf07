#!/usr/bin/env bash
# A Merkle Patricia trie in two Python libraries: what is under a key that was never stored?
#
# trie 3.1.0 (the Ethereum project's py-trie; 4.0.0 does the same) and merkle-patricia-trie 0.4.0, a fork of eth-mpt, both with
# rlp 4.1.0. First the four words of Ethereum's own example, do, dog, doge and horse, whose root is published; then two words;
# then 1,000 keys of 3 to 10 letters.
#
# Expected: both have the same root, both find what was stored, and both say of every other key that it is not there.
# Seen:     the roots are the same, and what was stored is found. But merkle-patricia-trie answers with whichever node is reached
#           when the key ends, and forgets that the node may stand for a longer key: of h it says "stallion", the value of horse.
#           So it does for one in six of the prefixes of the 1,000 keys. trie raises a ValidationError, "Traverse should never
#           return an extension node", for a key that ends where all others go on alike, as hor does beside horse and horst.
#           So a program that asks whether a name is taken gets another name's answer from one, and from the other an error
#           that looks like a broken database. Keys that are all of one length, as in Ethereum's state, are safe.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary merkle-patricia-trie==0.4.0 trie==3.1.0 \
    rlp==4.1.0 eth-utils==6.0.0 eth-hash==0.8.0 pycryptodome==3.24.1
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import random
from collections import Counter

from mpt import MerklePatriciaTrie
from trie import HexaryTrie
from trie.exceptions import ValidationError

EXAMPLE = {b"do": b"verb", b"dog": b"puppy", b"doge": b"coin", b"horse": b"stallion"}
ROOT = "5991bb8c6514148a29db676a14ac506cd2cd5775ace63c30a4fe457715e9ac84"


def filled(content):
    fork, trie = MerklePatriciaTrie({}), HexaryTrie({})
    for key, value in content.items():
        fork.update(key, value)
        trie[key] = value
    assert fork.root_hash() == trie.root_hash
    assert all(fork.get(key) == trie.get(key) == value for key, value in content.items())
    return fork, trie


def under(trie, key):
    """What the library says of an absent key; nothing may be None, no bytes or a KeyError."""
    try:
        return trie.get(key) or None
    except KeyError:
        return None
    except (AttributeError, ValidationError) as error:
        return type(error).__name__


fork, trie = filled(EXAMPLE)
assert fork.root_hash().hex() == ROOT
for key in [b"h", b"ho", b"hors", b"doges", b"cat"]:
    print(f"{key.decode()}: merkle-patricia-trie {under(fork, key)}, trie {under(trie, key)}")
    assert under(fork, key) == (b"stallion" if key == b"h" else None) and under(trie, key) is None

_, trie = filled({b"horse": b"stallion", b"horst": b"sandbank" * 5})
for key in [b"h", b"hor", b"hors", b"house"]:
    print(f"{key.decode()} beside horse and horst: trie {under(trie, key)}")
    assert under(trie, key) == ("ValidationError" if key in [b"h", b"hor"] else None)

generator = random.Random(1)
content = {}
while len(content) < 1_000:
    key = bytes(generator.choices(b"abcdefghijklmnopqrstuvwxyz", k=generator.randint(3, 10)))
    content[key] = b"value of " + key
fork, trie = filled(content)
absent = {key[:length] for key in content for length in range(1, len(key))} - set(content)
for name, library in [("merkle-patricia-trie", fork), ("trie", trie)]:
    said = Counter("another key's value" if isinstance(value := under(library, key), bytes) else value for key in absent)
    print(f"of {len(absent)} absent prefixes, {name}: {dict(said)}")
    if library is fork:
        assert 0.14 < said["another key's value"] / len(absent) < 0.18
    else:
        assert said["ValidationError"] == 7 and said[None] == len(absent) - 7
PYTHON
