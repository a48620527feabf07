"""A real node on a network of its own, with instant blocks, for as long as a test takes."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

CAIRN = os.environ.get("CAIRN", "target/debug/cairn")
# Far more than a start takes, on a machine that is busy with other things.
PATIENCE = 120


class Node:
    """Started by `with`, stopped in order at its end. Its wallet's address is `payee`."""

    def __enter__(self):
        self.place = tempfile.TemporaryDirectory()
        self.dir = Path(self.place.name)
        # Options come from here alone.
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("CAIRN")}
        bits = "207fffff"
        genesis = self.cairn("genesis", "new", "--retarget", "none", "--bits", bits, "--pow-limit-bits", bits,
                             "--coinbase-maturity", "2")
        (self.dir / "genesis.json").write_text(genesis)
        wallet = self.cairn("wallet", "new", "--json", "--data-dir", self.dir, "--genesis", self.dir / "genesis.json")
        self.payee = json.loads(wallet)["address"]
        self.process = subprocess.Popen(
            [CAIRN, "node", "--data-dir", self.dir, "--genesis", self.dir / "genesis.json",
             "--listen", "127.0.0.1:0", "--rpc", "127.0.0.1:0", "--rpc-user", "ada", "--rpc-password", "secret"],
            env=self.env, stderr=(self.dir / "log").open("w"))
        deadline = time.monotonic() + PATIENCE
        address = self.dir / ".rpc-address"
        while "ready" not in (self.dir / "log").read_text() or not address.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.dir / "log").read_text())
            time.sleep(0.02)
        self.address = address.read_text().removeprefix("http://")
        return self

    def url(self, credentials="ada:secret", path=""):
        """The URL that clients are given, with a user and a password in it."""
        return f"http://{credentials}@{self.address}{path}"

    def cookie(self):
        return (self.dir / ".cookie").read_text()

    def cairn(self, *args):
        """What a command prints."""
        return subprocess.run([CAIRN, *args], env=self.env, check=True, capture_output=True, text=True).stdout

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        log = (self.dir / "log").read_text()
        self.place.cleanup()
        if code != 0 or "panicked" in log:
            raise RuntimeError(f"the node ended with {code}:\n{log}")
