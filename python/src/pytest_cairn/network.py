"""A network of real nodes in one process, `cairn testnet`, and what can be done to it."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self, TypedDict

from .client import Client
from .methods import Links

COIN = 100_000_000
"""Grains in a coin."""

# Far more than anything here takes, on a machine that is busy with other things.
PATIENCE_SECS = 120.0
POLL_SECS = 0.01


class CommandError(Exception):
    """A `cairn` command failed. `kind` is its kind in the README's table of exit codes."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Tip(TypedDict):
    hash: str
    height: int


class Fork(TypedDict):
    """A reorganisation: the last common block, and the tips of the half that gave way and of the other."""

    depth: int
    fork: Tip
    old: Tip
    new: Tip
    nodes: int


class Balance(TypedDict):
    """In grains. `pending` is the change that the mempool would make."""

    balance: int
    spendable: int
    immature: int
    pending: int


class Node(Client):
    """A node of a network: a client of its JSON-RPC, with its name and its data directory."""

    def __init__(self, name: str, url: str, directory: Path) -> None:
        super().__init__(url, (directory / ".cookie").read_text())
        self.name = name
        self.directory = directory

    def __repr__(self) -> str:
        return f"<{self.name} at {self.url}>"


class Wallet:
    """Keys in a file. Payments go through the first node."""

    def __init__(self, network: "Network", path: Path) -> None:
        self._network = network
        self.path = path

    def address(self) -> str:
        """An address of the wallet, the same each time."""
        return str(self._run("address")["address"])

    def balance(self) -> Balance:
        """What the wallet has, as the first node sees it."""
        balance: Balance = self._run("balance")
        return balance

    def pay(self, address: str, grains: int) -> str:
        """Sends a payment, and returns its id. Its fee is the usual one."""
        return str(self._run("send", address, coins(grains))["txid"])

    def _run(self, *command: str) -> Any:
        return self._network.cairn("wallet", *command, "--wallet", str(self.path))


class Network:
    """A running network. Its blocks take no work, and are made only when they are asked for."""

    def __init__(self, binary: Path, directory: Path, nodes: list[Node]) -> None:
        self._binary = binary
        self.directory = directory
        self.nodes = nodes
        self._wallets = 0

    @classmethod
    @contextmanager
    def start(cls, binary: str | os.PathLike[str] = "cairn", nodes: int = 3) -> Iterator[Self]:
        """Starts a network in a directory of its own, and at the end stops it and removes that directory."""
        with tempfile.TemporaryDirectory(prefix="cairn-") as place:
            directory = Path(place) / "net"
            log = Path(place) / "log"
            command = [str(binary), "testnet", "--json", "--block-time", "0", "--nodes", str(nodes)]
            command += ["--data-dir", str(directory)]
            with log.open("w") as stderr:
                process = subprocess.Popen(
                    command, env=_environment(), stdout=subprocess.PIPE, stderr=stderr, text=True)
            assert process.stdout is not None
            try:
                # One line when all nodes are there, then one now and again, which are not read for their content.
                first = process.stdout.readline()
                if not first:
                    raise RuntimeError(f"cairn testnet does not start:\n{log.read_text()}")
                threading.Thread(target=_drain, args=[process.stdout], daemon=True).start()
                rows = json.loads(first)["nodes"]
                members = [Node(row["name"], row["rpc"], directory / row["name"]) for row in rows]
                network = cls(Path(binary), directory, members)
                network._wait_for_links()
                yield network
                for node in network.nodes:
                    node.close()
            finally:
                process.send_signal(signal.SIGINT)
                code = process.wait(PATIENCE_SECS)
            if code != 0 or "panicked" in log.read_text():
                raise RuntimeError(f"cairn testnet ended with {code}:\n{log.read_text()}")

    def cairn(self, *command: str) -> Any:
        """What a `cairn` command answers with --json. It finds the network by itself.

        Raises `CommandError` if the command fails.
        """
        line = [str(self._binary), *command, "--data-dir", str(self.directory), "--json"]
        done = subprocess.run(line, env=_environment(), capture_output=True, text=True, timeout=PATIENCE_SECS)
        if done.returncode != 0:
            try:
                error = json.loads(done.stderr.splitlines()[-1])["error"]
            except (IndexError, KeyError, ValueError):
                error = {"kind": "failed", "message": f"exit code {done.returncode}: {done.stderr}"}
            raise CommandError(error["kind"], error["message"])
        return json.loads(done.stdout)

    def mine(self, blocks: int = 1, node: int = 1, wait: bool = True) -> list[str]:
        """Mines on a node, to its own wallet, and returns the hashes of the blocks.

        It waits until every node has them. With `wait=False` it does not, as when the node is cut off.
        """
        miner = self.nodes[node - 1]
        payee = self.cairn("wallet", "address", "--wallet", str(miner.directory / "wallet.json"))["address"]
        hashes = miner.generatetoaddress(blocks, payee)
        if wait:
            self.wait()
        return hashes

    def pay(self, address: str, grains: int) -> str:
        """Pays from the network's wallet, and returns the id of the transaction, which then waits for a block."""
        return str(self.cairn("testnet", "faucet", address, coins(grains))["txid"])

    def wallet(self, name: str = "wallet") -> Wallet:
        """A new wallet without a passphrase. The name is for people."""
        self._wallets += 1
        path = self.directory / f"{self._wallets}-{name}.json"
        self.cairn("wallet", "new", "--wallet", str(path), "--no-passphrase")
        return Wallet(self, path)

    def fork(self, depth: int = 1) -> Fork:
        """Cuts the network in two, mines `depth` blocks in the half of node 1 and more work in the other, and heals it.

        The half of node 1 then gives up its blocks. Ends when all nodes agree.
        """
        fork: Fork = self.cairn("testnet", "fork", "--depth", str(depth))
        return fork

    def cut(self, a: int, b: int) -> None:
        """Cuts the link between two nodes, like a pulled cable."""
        self.cairn("testnet", "link", str(a), str(b), "cut")

    def slow(self, a: int, b: int, delay_ms: int = 500, loss: float = 0) -> None:
        """Delays what two nodes send each other, and loses a share of the messages."""
        self.cairn("testnet", "link", str(a), str(b), "slow", "--delay-ms", str(delay_ms), "--loss", str(loss))

    def heal(self, a: int, b: int) -> None:
        """Ends what was done to a link."""
        self.cairn("testnet", "link", str(a), str(b), "heal")

    def snapshot(self, name: str) -> None:
        """Remembers the whole network: chains, mempools, links, clocks, and the network's own wallets."""
        self.cairn("testnet", "snapshot", name)

    def revert(self, name: str) -> None:
        """Makes the network what it was at a snapshot, which stays. Later snapshots are dropped."""
        self.cairn("testnet", "revert", name)

    def wait(self) -> None:
        """Waits until all nodes have the same tip and the same mempool."""
        def is_one() -> bool:
            tips = {node.getbestblockhash() for node in self.nodes}
            return len(tips) == 1 and len({tuple(sorted(node.getrawmempool())) for node in self.nodes}) == 1
        _wait_for(is_one, "the nodes do not agree")

    def _wait_for_links(self) -> None:
        def is_whole() -> bool:
            links: Links = self.nodes[0].getlinks()
            return all(len(node["links"]) == len(self.nodes) - 1 for node in links["nodes"])
        _wait_for(is_whole, "the nodes do not connect")


def coins(grains: int) -> str:
    """An amount as commands take it."""
    return f"{grains // COIN}.{grains % COIN:08}"


def _environment() -> dict[str, str]:
    """Options come from the command line alone."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CAIRN")}


def _drain(stream: IO[str]) -> None:
    for _ in stream:
        pass


def _wait_for(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} within {PATIENCE_SECS:.0f} seconds")
        time.sleep(POLL_SECS)
