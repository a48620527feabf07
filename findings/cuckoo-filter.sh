#!/usr/bin/env bash
# A cuckoo filter, by which a peer tells others what it has in few bytes: 3,000 keys in a Python library's filter, then written to
# a file and read again. A filter may say yes to a key that it does not have, rarely, and must never say no to one that it has.
#
# pyprobables 0.7.0. The filter is made for an error rate, `init_error_rate`, with room for 40,000 keys. 3,000 other keys are
# asked for.
#
# Expected: it says yes to at most as many of the others as was asked for, 1 in 100 or 1 in 1,000, and to all of its own, before and
#           after the file. A file that lacks a setting is refused.
# Seen:     asked for 1 in 100 it says yes to 19 in 20, and asked for 1 in 1,000 to 3 in 10. It takes the place of a key
#           from its fingerprint alone, so it forgets all of a hash but those few bits, and gets worse with each key. Its
#           `error_rate` shows the number that was asked for. Read from the file in the plain way, it says no to all of its keys,
#           since the size of the fingerprint is not in the file and is taken to be 32 bits. Read with the right error
#           rate, it still says no to a few: a fingerprint of 0 is written as an empty place. There is no error. Made without
#           an error rate, with 32 bits, it is right.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check pyprobables==0.7.0
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import hashlib

from probables import CuckooFilter

COUNT = 3000


def keys(name):
    return [hashlib.sha256(f"{name} {at}".encode()).hexdigest() for at in range(COUNT)]


own, others = keys("own"), keys("other")


def answers(kept):
    return sum(key in kept for key in own), sum(key in kept for key in others)


def filled(kept):
    for key in own:
        kept.add(key)
    kept.export("kept")
    return kept


plain = filled(CuckooFilter())
print(f"without an error rate: yes to {answers(plain)[0]} of its own, {answers(plain)[1]} of the others")
assert answers(plain) == answers(CuckooFilter(filepath="kept")) == (COUNT, 0)

seen = {}
for rate in (0.01, 0.001, 0.0001):
    kept = filled(CuckooFilter.init_error_rate(rate))
    assert kept.error_rate == rate
    read = CuckooFilter.load_error_rate(rate, "kept")
    seen[rate] = answers(kept), answers(CuckooFilter(filepath="kept")), answers(read)
    for name, (right, wrong) in zip(("in memory", "read plainly", "read with the rate"), seen[rate]):
        print(f"asked for {rate}, {name}: yes to {right} of its own, {wrong} of the others")

for memory, plainly, with_rate in seen.values():
    assert memory[0] == COUNT and plainly == (0, 0)
assert 0.9 < seen[0.01][0][1] / COUNT < 0.99 and 0.25 < seen[0.001][0][1] / COUNT < 0.4
assert COUNT - 20 < seen[0.01][2][0] < COUNT
PYTHON
