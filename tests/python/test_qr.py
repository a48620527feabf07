"""The QR code of a payment's file, read by zxing-cpp."""

import json
from pathlib import Path

import zxingcpp
from pytest_cairn import Network

#: Pixels of a module.
SCALE = 4


def read(modules: list[str]) -> str:
    """The text of a code, drawn in pixels."""
    rows = [bytes(0 if module == "1" else 255 for module in row for _ in range(SCALE)) for row in modules]
    pixels = b"".join(row for row in rows for _ in range(SCALE))
    size = len(modules) * SCALE
    [code] = zxingcpp.read_barcodes(memoryview(pixels).cast("B", shape=[size, size]))
    return code.text


def test_a_payment_is_carried_by_camera(cairn_network: Network, payee: str, tmp_path: Path) -> None:
    cairn_network.mine()
    unsigned, scanned, signed = (tmp_path / name for name in ("pay.json", "scanned.json", "signed.json"))
    cairn_network.cairn("wallet", "prepare", payee, "2.5", "-o", str(unsigned))
    text = read(cairn_network.cairn("wallet", "qr", str(unsigned))["modules"])
    assert json.loads(text) == json.loads(unsigned.read_text())
    scanned.write_text(text)
    cairn_network.cairn("wallet", "sign", str(scanned), "-o", str(signed))
    txid = cairn_network.cairn("wallet", "broadcast", str(signed))["txid"]
    assert txid in cairn_network.nodes[0].getrawmempool()
