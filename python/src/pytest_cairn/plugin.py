"""The fixtures."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .network import Network, Node

START = "pytest-start"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cairn")
    group.addoption("--cairn", metavar="PATH", help="the cairn binary [default: $CAIRN, else cairn on PATH]")
    group.addoption("--cairn-nodes", metavar="N", type=int, default=3, help="nodes of cairn_network [default: 3]")


def _binary(config: pytest.Config) -> Path:
    named = config.getoption("--cairn") or os.environ.get("CAIRN") or "cairn"
    found = shutil.which(named)
    if found is None:
        raise pytest.UsageError(f"no program {named}: name the cairn binary with --cairn PATH")
    return Path(found).resolve()


@pytest.fixture(scope="session")
def _cairn_session(pytestconfig: pytest.Config) -> Iterator[Network]:
    with Network.start(_binary(pytestconfig), nodes=pytestconfig.getoption("--cairn-nodes")) as network:
        network.snapshot(START)
        yield network


@pytest.fixture
def cairn_network(_cairn_session: Network) -> Network:
    """A network whose nodes are connected, as it was at its start: at height 0, with a wallet that has coins."""
    _cairn_session.revert(START)
    return _cairn_session


@pytest.fixture
def cairn_node(cairn_network: Network) -> Node:
    """The first node of `cairn_network`."""
    return cairn_network.nodes[0]
