"""What the tests of client libraries share."""

import pytest
from pytest_cairn import Network, Node


@pytest.fixture
def payee(cairn_network: Network) -> str:
    """An address of the first node's own wallet."""
    wallet = cairn_network.nodes[0].directory / "wallet.json"
    return cairn_network.cairn("wallet", "address", "--wallet", str(wallet))["address"]


@pytest.fixture
def node(cairn_node: Node, payee: str) -> Node:
    """A node at height 5."""
    cairn_node.generatetoaddress(5, payee)
    return cairn_node


@pytest.fixture
def url(node: Node):
    """The URL that clients are given, with a user and a password in it."""
    def url(credentials: str = node.credentials, path: str = "") -> str:
        return f"http://{credentials}@{node.url.removeprefix('http://')}{path}"
    return url
