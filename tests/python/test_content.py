"""The clients of IPFS, as they are published, against the gateway and the commands of a real node."""

import asyncio
import io
import os
import shutil
import signal
import subprocess
from pathlib import Path

import aioipfs
import ipfshttpclient
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
        self.host, self.port = self.url.removeprefix("http://").split(":")
        self.user, self.password = (directory / ".cookie").read_text().split(":")

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


ABSENT = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"


class TestIpfshttpclient:
    """ipfshttpclient: Kubo's commands."""

    @pytest.fixture
    def client(self, serving):
        address = f"/ip4/{serving.host}/tcp/{serving.port}/http"
        with ipfshttpclient.Client(address, auth=(serving.user, serving.password)) as client:
            yield client

    def test_adds_and_reads(self, client, serving, tmp_path):
        data = bytes(i * 7 % 256 for i in range(700_000))
        (tmp_path / "data").write_bytes(data)
        added = client.add(str(tmp_path / "data"))
        # The same CID as that of the command on this machine.
        assert added["Hash"] == serving.content("add", "-Q", "--only-hash", tmp_path / "data")
        assert added["Name"] == "data"
        assert client.cat(added["Hash"]) == data
        assert client.cat(added["Hash"], offset=5, length=10) == data[5:15]
        assert client.add_bytes(b"hello") == "QmWfVY9y3xjsixTgbd9AorQxH7VtMpzfx2HaWtsoUYecaX"
        assert client.add_str("hello") == "QmWfVY9y3xjsixTgbd9AorQxH7VtMpzfx2HaWtsoUYecaX"
        assert client.get_json(client.add_json({"a": [1, 2]})) == {"a": [1, 2]}

    def test_directories(self, client, serving, tree, tmp_path):
        path, cid = tree
        added = client.add(str(path), recursive=True)
        assert added[-1]["Hash"] == cid
        assert {entry["Name"].removeprefix(path.name).lstrip("/"): entry["Hash"] for entry in added}["a.txt"] == \
            serving.content("add", "-Q", "--only-hash", path / "a.txt")
        [listing] = client.ls(cid)["Objects"]
        assert [(link["Name"], link["Size"], link["Type"]) for link in listing["Links"]] == [("a.txt", 6, 2), ("sub", 0, 1)]
        client.get(cid, target=str(tmp_path))
        for file in ["a.txt", "sub/data", "sub/deep/empty"]:
            assert (tmp_path / cid / file).read_bytes() == (path / file).read_bytes()

    def test_blocks_and_cars(self, client, tree):
        _, cid = tree
        block = client.block.get(cid)
        assert client.block.stat(cid) == {"Key": cid, "Size": len(block)}
        put = client.block.put(io.BytesIO(b"a block"))
        assert client.block.get(put["Key"]) == b"a block"
        car = client.dag.export(cid)
        assert client.dag.imprt(io.BytesIO(car))["Root"]["Cid"]["/"] == cid

    def test_pins(self, client):
        cid = client.add_bytes(b"pinned")
        assert client.pin.ls(type="recursive")["Keys"][cid]["Type"] == "recursive"
        assert client.pin.rm(cid)["Pins"] == [cid]
        assert cid not in client.pin.ls()["Keys"]
        with pytest.raises(ipfshttpclient.exceptions.ErrorResponse, match="not pinned"):
            client.pin.rm(cid)
        assert client.pin.add(cid)["Pins"] == [cid]
        with pytest.raises(ipfshttpclient.exceptions.ErrorResponse, match="not here"):
            client.pin.add(ABSENT)

    def test_who_it_is(self, client):
        assert client.id()["ID"].startswith("12D3KooW")
        assert client.version()["Version"].startswith("0.")

    def test_credentials(self, serving):
        address = f"/ip4/{serving.host}/tcp/{serving.port}/http"
        for auth in [None, (serving.user, "wrong")]:
            with pytest.raises(ipfshttpclient.exceptions.StatusError):
                ipfshttpclient.Client(address, auth=auth).cat(ABSENT)


class TestAioipfs:
    """aioipfs: Kubo's commands."""

    def run(self, serving, work):
        async def with_client():
            auth = aioipfs.BasicAuth(serving.user, serving.password)
            client = aioipfs.AsyncIPFS(host=serving.host, port=int(serving.port), auth=auth)
            try:
                return await work(client)
            finally:
                await client.close()
        return asyncio.run(with_client())

    def test_reads(self, serving, tree):
        path, cid = tree

        async def work(client):
            assert await client.cat(f"{cid}/a.txt") == b"hello\n"
            assert await client.cat(f"{cid}/sub/data", offset=3, length=4) == (path / "sub" / "data").read_bytes()[3:7]
            listing = await client.ls(cid)
            assert [link["Name"] for link in listing["Objects"][0]["Links"]] == ["a.txt", "sub"]
            assert (await client.block.stat(cid))["Key"] == cid
            assert len(await client.block.get(cid)) == (await client.block.stat(cid))["Size"]
            assert cid in (await client.pin.ls())["Keys"]
            assert (await client.core.version())["Version"].startswith("0.")
            with pytest.raises(aioipfs.APIError):
                await client.cat(ABSENT)
        self.run(serving, work)
