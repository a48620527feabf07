#!/usr/bin/env bash
# Integers in a document that peers share without a server (a CRDT), as the peer that wrote them reads them and as the others do.
#
# pycrdt 0.14.13 (Yjs, over Rust) and loro 1.17.1 (over Rust). Both take Python's integers of up to 64 bits. All peers have all
# updates; the state is compared as canonical JSON, which is what a signature or a hash of it would be of.
#
# Expected: an integer comes back as an integer, on all peers alike, in both. At most, since Yjs comes from JavaScript, integers
#           from 2^53 on lose digits on all peers.
# Seen:     so it is in loro. In pycrdt each integer below 2^53 comes back as a float, on all peers. From 2^53 on the writer has its
#           integer, and the others have a float wherever a float can hold it: 10^18, one ether in wei, is 1000000000000000000
#           here and 1e+18 there, while 10^18 + 1 is an integer on both. After a restart the writer has the float, too. Of
#           2^63 - 1, "never" in many programs, the others read one more. So peers that have the same updates disagree on the
#           state and its hash, and no error says so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check pycrdt==0.14.13 loro==1.17.1
"$dir/venv/bin/python" - <<'PYTHON'
import json
import random

import loro
import pycrdt


def by_pycrdt(state):
    writer, other = pycrdt.Doc(), pycrdt.Doc()
    writer.get("state", type=pycrdt.Map).update(state)
    other.apply_update(writer.get_update())
    assert writer.get_state() == other.get_state() and writer.get_update() == other.get_update()
    return tuple(doc.get("state", type=pycrdt.Map).to_py() for doc in (writer, other))


def by_loro(state):
    writer, other = loro.LoroDoc(), loro.LoroDoc()
    for key, value in state.items():
        writer.get_map("state").insert(key, value)
    writer.commit()
    other.import_(writer.export(loro.ExportMode.Snapshot()))
    return tuple(doc.get_deep_value()["state"] for doc in (writer, other))


def canonical(state):
    return json.dumps(state, sort_keys=True)


values = {"seven": 7, "2^53 - 1": 2**53 - 1, "10^18": 10**18, "10^18 + 1": 10**18 + 1, "2^63 - 1": 2**63 - 1}
for name, share in {"pycrdt": by_pycrdt, "loro": by_loro}.items():
    writer, other = share(values)
    for key, value in values.items():
        print(f"{name}: {key} is {writer[key]!r} for the writer, {other[key]!r} for the others")
    if name == "loro":
        assert canonical(writer) == canonical(other) == canonical(values)
        continue
    assert writer == values
    assert [type(writer[key]) for key in values] == [float, float, int, int, int]
    assert [type(other[key]) for key in values] == [float, float, float, int, float]
    assert int(other["2^63 - 1"]) == 2**63 and {**other, "2^63 - 1": 2**63 - 1} == values

draw = random.Random(1)
prices = {str(at): draw.randrange(1, 900) * 10**16 for at in range(1000)}
for name, share in {"pycrdt": by_pycrdt, "loro": by_loro}.items():
    writer, other = share(prices)
    differ = sum(canonical(writer[key]) != canonical(other[key]) for key in prices)
    print(f"{name}: of 1,000 prices in wei, {differ} are another text for the writer than for the others")
    assert differ == (1000 if name == "pycrdt" else 0) and writer == other == prices
PYTHON
