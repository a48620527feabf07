"""Branches of Merkle trees, read by other people's code: bsv-sdk reads BUMPs, pycoin the answers of gettxoutproof."""

import sys
from pathlib import Path

# bsv-sdk puts its own directory first in the path of imports, where other libraries then find its `base58` and fail.
_PATH = list(sys.path)
from bsv.merkle_path import MerklePath

sys.path[:] = _PATH

import pytest
from pycoin.symbols.btc import network as bitcoin
from pytest_cairn import COIN, Network, Node


@pytest.mark.parametrize("count", [0, 1, 2, 6])
def test_every_branch_of_a_block(cairn_network: Network, payee: str, tmp_path: Path, count: int) -> None:
    for _ in range(count):
        cairn_network.pay(payee, COIN)
    cairn_network.wait()
    [block] = cairn_network.mine()
    node: Node = cairn_network.nodes[0]
    header, txids = node.getblockheader(block), node.getblock(block)["tx"]
    assert len(txids) == count + 1
    for txid in txids:
        receipt, bump = tmp_path / f"{txid}.json", tmp_path / f"{txid}.bump"
        cairn_network.cairn("proof", "get", txid, "-o", str(receipt))
        written = cairn_network.cairn("proof", "bump", str(receipt), "-o", str(bump))
        assert bump.read_bytes().hex() == written["hex"]
        # bsv-sdk has no path for a block of one transaction, which other libraries write as this one.
        if count > 0:
            path = MerklePath.from_binary(bump.read_bytes())
            assert (path.block_height, path.compute_root(txid)) == (header["height"], header["merkleroot"])
            assert path.to_hex() == written["hex"]

        # pycoin computes the root and compares it with the header's, or raises.
        proof = bitcoin.message.parse("merkleblock", bytes.fromhex(node.gettxoutproof([txid])))
        assert [hash[::-1].hex() for hash in proof["tx_hashes"]] == [txid]
        assert proof["header"].id() == block
    proof = bytearray.fromhex(node.gettxoutproof([txids[-1]]))
    proof[40] ^= 1
    with pytest.raises(ValueError, match="merkle root"):
        bitcoin.message.parse("merkleblock", bytes(proof))
