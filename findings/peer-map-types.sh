#!/usr/bin/env bash
# A map from addresses to what is known of them, in the MaxMind DB format, as nodes use it to spread their peers over networks and
# countries: written by a Python library and read by MaxMind's own.
#
# mmdb-writer 0.2.7 (netaddr 1.3.0) and maxminddb 3.2.0. The format has types of its own for integers, floats and booleans.
#
# Expected: each value comes back with the type that it was given. At most integers come back in another width.
# Seen:     that is so only while no two values are equal in Python, where 1, 1.0 and True are, and so are 0, 0.0 and False. The
#           writer stores a value once and points at it wherever an equal one follows, in the same record or in any other. So the
#           first one in the whole file sets the type of all. A relay with one hop and a score of 1.0 has True three times,
#           and a network's number becomes a float if a latitude was that number before. One new record at the front
#           changes records that were not touched. An empty map is an empty list after the first empty list. Python hides
#           most of it, since True == 1; readers with types, and JSON, do not. There is no error.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check mmdb-writer==0.2.7 netaddr==1.3.0 maxminddb==3.2.0
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import json

import maxminddb
from mmdb_writer import MMDBWriter
from netaddr import IPSet


def read_back(records):
    writer = MMDBWriter(ip_version=4)
    for first, record in records.items():
        writer.insert_network(IPSet([f"{first}.0.0.0/8"]), record)
    writer.to_db_file("map.mmdb")
    with maxminddb.open_database("map.mmdb") as reader:
        return {first: reader.get(f"{first}.1.2.3") for first in records}


def types(record):
    return {name: type(value).__name__ for name, value in record.items()}


apart = {9: {"relay": True, "hops": 3, "score": 0.5, "number": 7}}
assert types(read_back(apart)[9]) == types(apart[9])

alike = {9: {"relay": True, "hops": 1, "score": 1.0, "new": False, "lost": 0, "lag": 0.0}}
read = read_back(alike)
print(json.dumps(alike[9]), "is read as", json.dumps(read[9]))
assert read == alike and set(types(read[9]).values()) == {"bool"}

empty = {9: {"ports": [], "names": {}}}
read = read_back(empty)
print(json.dumps(empty[9]), "is read as", json.dumps(read[9]))
assert types(read[9]) == {"ports": "list", "names": "list"}

records = {first: {"number": first, "latitude": float(first % 90), "relay": first % 2 == 0} for first in range(1, 224)}
read = read_back(records)
wrong = {name: sum(types(read[first])[name] != types(records[first])[name] for first in records) for name in records[1]}
print(f"of {len(records)} records the type is wrong in: {wrong}")
print("one of them:", json.dumps(records[90]), "is read as", json.dumps(read[90]))
assert read == records and wrong == {"number": 0, "latitude": 223, "relay": 111}
assert types(read[90]) == {"number": "int", "latitude": "bool", "relay": "int"}

more = {0: {"latitude": 64.0}} | records
assert type(read[64]["number"]) is int
number = read_back(more)[64]["number"]
print(f"network 64, after a record with the latitude 64.0 in front: {number!r}")
assert type(number) is float
PYTHON
