#!/usr/bin/env bash
# A Bitcoin transaction, read from its bytes and written again by five Python libraries: is it the same transaction?
#
# python-bitcoinlib 0.12.2, embit 0.8.0, buidl 0.2.36, bitcoin-utils 0.8.8, bitcoinlib 0.7.10. Consensus gives a script no form:
# an output may hold any bytes, and a push may be longer than its shortest form.
#
# Expected: yes in all but buidl, which keeps a script as a list of commands and writes the shortest push.
# Seen:     three of five change it. buidl and bitcoin-utils shorten a long push, so the txid is another one. bitcoin-utils
#           also changes the txid when an output ends inside a push or has an unknown opcode, and drops the empty witness of
#           an input without one: in a transaction with a legacy and a witness input, the witness moves to the wrong input,
#           and python-bitcoinlib cannot read the bytes. bitcoinlib loses the witness of a coinbase, which nearly each block
#           has since 2017, and refuses an output that ends inside a push. python-bitcoinlib and embit keep every byte.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet python-bitcoinlib==0.12.2 embit==0.8.0 buidl==0.2.36 bitcoin-utils==0.8.8 bitcoinlib==0.7.10
HOME="$dir" "$dir/venv/bin/python" -W ignore - <<'PYTHON'
import io

from bitcoin.core import CTransaction
from bitcoin.core.serialize import SerializationTruncationError
from bitcoinlib.scripts import ScriptError
from bitcoinlib.transactions import Transaction as BitcoinlibTransaction
from bitcoinutils.transactions import Transaction as UtilsTransaction
from buidl.tx import Tx
from embit.transaction import Transaction as EmbitTransaction

LIBRARIES = {
    "python-bitcoinlib": lambda raw: CTransaction.deserialize(raw).serialize(),
    "embit": lambda raw: EmbitTransaction.parse(raw).serialize(),
    "buidl": lambda raw: Tx.parse(io.BytesIO(raw)).serialize(),
    "bitcoin-utils": lambda raw: bytes.fromhex(UtilsTransaction.from_raw(raw.hex()).serialize()),
    "bitcoinlib": lambda raw: BitcoinlibTransaction.parse(raw).raw(),
}


def transaction(inputs, script, witnesses=""):
    output = "018813000000000000" + f"{len(script) // 2:02x}" + script
    version = "02000000" + ("0001" if witnesses else "")
    return bytes.fromhex(version + f"{len(inputs):02x}" + "".join(inputs) + output + witnesses + "00000000")


PAY, plain = "0014" + "22" * 20, "ab" * 32 + "01000000" + "00" + "ffffffff"
coinbase = "00" * 32 + "ffffffff" + "0403010203" + "ffffffff"
signature = "3044" + ("0220" + "11" * 32) * 2 + "01"
witness = "02" + "47" + signature + "21" + "02" + "11" * 32
cases = {
    "a payment": (transaction([plain], PAY), set()),
    "a witness input": (transaction([plain], PAY, witness), set()),
    "OP_RETURN, shortest push": (transaction([plain], "6a0568656c6c6f"), set()),
    "OP_RETURN, OP_PUSHDATA1 of 5 bytes": (transaction([plain], "6a4c0568656c6c6f"), {"buidl", "bitcoin-utils"}),
    "an output with opcode ff": (transaction([plain], "51ff"), {"bitcoin-utils"}),
    "an output that ends inside a push": (transaction([plain], "6a20ab"), {"bitcoin-utils", "bitcoinlib"}),
    "a witness input before one without": (transaction([plain] * 2, PAY, witness + "00"), {"bitcoin-utils"}),
    "a witness input after one without": (transaction([plain] * 2, PAY, "00" + witness), {"bitcoin-utils"}),
    "a coinbase with its witness": (transaction([coinbase], PAY, "0120" + "00" * 32), {"bitcoinlib"}),
}
failed = False
for name, (raw, expected) in cases.items():
    changed = set()
    for library, read_and_write in LIBRARIES.items():
        try:
            written = read_and_write(raw)
        except ScriptError as error:
            print(f"{library}: {error}")
            written = b""
        if written != raw:
            changed.add(library)
    failed |= changed != expected
    print(f"{name}: {'changed by ' + ', '.join(sorted(changed)) if changed else 'the same in all five'}")

try:
    CTransaction.deserialize(LIBRARIES["bitcoin-utils"](cases["a witness input after one without"][0]))
except SerializationTruncationError as error:
    print(f"python-bitcoinlib, of bitcoin-utils' bytes: {error}")
else:
    failed = True
assert not failed, "it behaves otherwise than stated"
PYTHON
