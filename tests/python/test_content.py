"""The clients of IPFS, as they are published, against the gateway of a real node."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from ipfsspec import AsyncIPFSFileSystem

# Far more than anything here takes.
PATIENCE_SECS = 60


class ContentNode:
    """A node that serves files, and its content."""

    def __init__(self, binary: str, directory: Path):
        self.binary, self.directory = binary, directory
        self.process = subprocess.Popen(
            [binary, "node", "--data-dir", directory, "--no-listen", "--rpc", "127.0.0.1:0", "--gateway-files"],
            stderr=subprocess.PIPE, text=True)
        # The last thing that it says at its start.
        for line in self.process.stderr:
            if " ready rpc=" in line:
                break
        self.url = (directory / ".rpc-address").read_text().strip()

    def content(self, *command) -> str:
        line = [self.binary, "content", *command, "--data-dir", self.directory]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=PATIENCE_SECS).stdout.strip()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE_SECS)
        assert self.process.returncode == 0


@pytest.fixture(scope="module")
def serving(pytestconfig, tmp_path_factory):
    binary = shutil.which(pytestconfig.getoption("--cairn") or os.environ.get("CAIRN") or "cairn")
    node = ContentNode(binary, tmp_path_factory.mktemp("content") / "node")
    yield node
    node.stop()


@pytest.fixture(scope="module")
def tree(serving, tmp_path_factory):
    """A directory, and its CID on the node."""
    path = tmp_path_factory.mktemp("tree")
    (path / "sub" / "deep").mkdir(parents=True)
    (path / "a.txt").write_text("hello\n")
    (path / "sub" / "data").write_bytes(bytes(i * 131 % 251 for i in range(1_000_000)))
    (path / "sub" / "deep" / "empty").write_bytes(b"")
    return path, serving.content("add", "-rQ", path)


class TestIpfsspec:
    """ipfsspec: CARs of single blocks, and files."""

    @pytest.fixture
    def fs(self, serving):
        return AsyncIPFSFileSystem(gateway_addr=serving.url)

    def test_lists_and_reads(self, fs, tree):
        path, cid = tree
        assert sorted(fs.ls(cid, detail=False)) == [f"{cid}/a.txt", f"{cid}/sub"]
        assert fs.info(f"{cid}/a.txt")["size"] == 6
        assert fs.info(f"{cid}/sub")["type"] == "directory"
        assert fs.cat(f"{cid}/a.txt") == b"hello\n"
        assert fs.cat(f"{cid}/sub/data") == (path / "sub" / "data").read_bytes()
        assert fs.cat(f"{cid}/sub/deep/empty") == b""
        assert sorted(fs.find(cid)) == [f"{cid}/a.txt", f"{cid}/sub/data", f"{cid}/sub/deep/empty"]

    def test_fetches_files(self, fs, tree, tmp_path):
        path, cid = tree
        for file in ["a.txt", "sub/data", "sub/deep/empty"]:
            fs.get_file(f"ipfs://{cid}/{file}", str(tmp_path / "got"))
            assert (tmp_path / "got").read_bytes() == (path / file).read_bytes()

    def test_what_is_absent(self, fs, tree):
        _, cid = tree
        for path in [f"{cid}/nothing", f"{cid}/a.txt/below", "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"]:
            with pytest.raises(FileNotFoundError):
                fs.info(path)
            with pytest.raises(FileNotFoundError):
                fs.cat(path)
