"""The fixtures of `python/`, as its README shows them."""

import pytest
from pytest_cairn import COIN, CommandError, Network, Node, RpcError


def test_a_payment_outlives_a_fork(cairn_network: Network) -> None:
    shop = cairn_network.wallet("shop")
    cairn_network.mine()
    txid = cairn_network.pay(shop.address(), 3 * COIN // 2)
    cairn_network.mine()
    assert shop.balance()["spendable"] == 150_000_000
    fork = cairn_network.fork(depth=2)
    assert cairn_network.nodes[0].getbestblockhash() == fork["new"]["hash"]
    assert cairn_network.nodes[0].gettxout(txid, 0) is not None


@pytest.mark.parametrize("again", range(2))
def test_each_test_finds_the_network_as_it_was(cairn_network: Network, again: int) -> None:
    assert [node.getblockcount() for node in cairn_network.nodes] == [0, 0, 0]
    assert cairn_network.nodes[0].getrawmempool() == []
    links = cairn_network.nodes[0].getlinks()["nodes"]
    assert not any(link["cut"] or link["delay_ms"] for node in links for link in node["links"])
    shop = cairn_network.wallet()
    cairn_network.pay(shop.address(), COIN)
    cairn_network.wait()
    cairn_network.slow(1, 2, delay_ms=1)
    cairn_network.cut(1, 3)
    cairn_network.mine(2, node=1, wait=False)


def test_two_halves_agree_again(cairn_network: Network) -> None:
    cairn_network.cut(1, 3)
    cairn_network.cut(2, 3)
    first, = cairn_network.mine(node=1, wait=False)
    second, third = cairn_network.mine(2, node=3, wait=False)
    assert [node.getbestblockhash() for node in cairn_network.nodes[::2]] == [first, third]
    cairn_network.heal(1, 3)
    cairn_network.heal(2, 3)
    cairn_network.wait()
    assert {node.getblockhash(1) for node in cairn_network.nodes} == {second}
    tips = {tip["hash"]: tip["status"] for tip in cairn_network.nodes[0].getchaintips()}
    assert tips == {third: "active", first: "valid-fork"}


def test_snapshots_within_a_test(cairn_network: Network) -> None:
    cairn_network.mine(3)
    cairn_network.snapshot("three")
    cairn_network.mine(2)
    cairn_network.revert("three")
    assert {node.getblockcount() for node in cairn_network.nodes} == {3}


def test_a_wallet_pays(cairn_network: Network) -> None:
    alice, bob = cairn_network.wallet("alice"), cairn_network.wallet("bob")
    cairn_network.pay(alice.address(), 2 * COIN)
    cairn_network.mine()
    txid = alice.pay(bob.address(), COIN)
    cairn_network.wait()
    assert cairn_network.nodes[2].getmempoolentry(txid)["fees"]["base"] > 0
    cairn_network.mine(node=3)
    assert bob.balance()["spendable"] == COIN
    with pytest.raises(CommandError, match="funds|enough"):
        bob.pay(alice.address(), 2 * COIN)


def test_errors_and_types(cairn_node: Node) -> None:
    with pytest.raises(RpcError) as caught:
        cairn_node.getblockhash(1)
    assert (caught.value.code, caught.value.message) == (-8, "Block height out of range")
    genesis = cairn_node.getblock(cairn_node.getblockhash(0), 1)
    assert not isinstance(genesis, str)
    assert (genesis["height"], genesis["confirmations"]) == (0, 1)
    assert cairn_node.getblockheader(genesis["hash"], False) == cairn_node.getheaders(0, 1)
