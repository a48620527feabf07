#!/usr/bin/env bash
# A value in a Kademlia network, replaced by a node that holds the old one: what does that node read, and which value survives?
#
# kademlia 2.2.3 (with rpcudp 5.0.1): ten nodes on 127.0.0.1 with fixed ids, no loss. The clock of their stores is the script's.
#
# Expected: after `set` returned True, `get` gives the new value at every node, and republishing spreads it.
# Seen:     the writer reads the old value. `set` changes the writer's own copy only if the writer is closer to the key than
#           the farthest of the 20 nodes that it stores at, and `get` looks at the own copy first. Copies are republished
#           when an hour old, and no version is compared. The writer's copy is the oldest, so it is republished first, and the
#           old value replaces the new one at all nodes. Of ten writers this happens to one, the farthest from the key. The
#           others do as expected.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet kademlia==2.2.3 rpcudp==5.0.1
"$dir/venv/bin/python" - <<'PYTHON'
import asyncio
import hashlib
import logging
from collections import Counter
from unittest import mock

from kademlia.network import Server

KEY, COUNT, MINUTE = "tip", 10, 60
PLACE = hashlib.sha1(KEY.encode()).digest()
logging.disable(logging.CRITICAL)


def distance(server):
    return int.from_bytes(server.node.id, "big") ^ int.from_bytes(PLACE, "big")


async def network():
    """Nodes that all know each other, ordered by their distance to the key."""
    servers = [Server(node_id=hashlib.sha1(b"node %d" % number).digest()) for number in range(COUNT)]
    for server in servers:
        await server.listen(0, interface="127.0.0.1")
    for server in servers:
        others = [other for other in servers if other is not server]
        await server.bootstrap([other.transport.get_extra_info("sockname") for other in others])
    assert all(len(server.bootstrappable_neighbors()) == COUNT - 1 for server in servers)
    return sorted(servers, key=distance)


async def replace(rank):
    """What the writer and the others read after the writer replaced the value, and what all read after republishing."""
    servers = await network()
    writer = servers[rank]
    with mock.patch("kademlia.storage.time") as clock:
        clock.monotonic.return_value = 0
        assert await servers[0].set(KEY, "old")
        assert [await server.get(KEY) for server in servers] == ["old"] * COUNT
        clock.monotonic.return_value = 30 * MINUTE
        assert await writer.set(KEY, "new"), "the value is stored"
        own, others = await writer.get(KEY), Counter([await server.get(KEY) for server in servers if server is not writer])
        clock.monotonic.return_value = 61 * MINUTE
        for server in servers:
            await server._refresh_table()  # what each node's timer calls once an hour
        later = Counter([await server.get(KEY) for server in servers])
    for server in servers:
        server.stop()
    return own, others, later


for rank in range(COUNT):
    own, others, later = asyncio.run(replace(rank))
    print(f"writer {rank}: reads {own}, the others {dict(others)}; after an hour all {dict(later)}")
    survivor = "old" if rank == COUNT - 1 else "new"
    assert own == survivor and others == {"new": COUNT - 1} and later == {survivor: COUNT}
PYTHON
