#!/usr/bin/env bash
# Bytes in SCALE, the encoding of Polkadot's chains: a compact length, then the bytes. Remarks, contracts' calls and storage keys
# are such bytes, and what Python reads of a chain goes through one of two packages.
#
# scalecodec 1.2.12 and cyscale 0.8.0 from PyPI, each alone. Seven byte strings are decoded, and what comes out is encoded again;
# then a map with its keys in falling order, which Rust's BTreeMap cannot have.
#
# Expected: bytes come out as bytes, or always as hex, and give the same encoding back; a map is written in the order of its keys.
# Seen:     both packages give text if the bytes are UTF-8, and hex with "0x" if not, so the six letters "0xff00" and the two bytes
#           ff 00 are one value, and it is always encoded as the two bytes. Of the text "0x" alone no byte is left, and text that
#           begins so without being hex cannot be encoded at all. A remark that quotes a hash in hex, as many do, comes back
#           as another remark, half as long. A map is written as it was given: the node reads it, but hashes other bytes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for package in scalecodec==1.2.12 cyscale==0.8.0; do
    venv=$dir/${package%%=*}
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary "$package"
    echo "$package"
    "$venv/bin/python" -W ignore - <<'PYTHON'
from scalecodec.base import RuntimeConfigurationObject, ScaleBytes
from scalecodec.type_registry import load_type_registry_preset

runtime = RuntimeConfigurationObject()
runtime.update_type_registry(load_type_registry_preset("legacy"))


def encode(kind, value):
    return bytes(runtime.create_scale_object(kind).encode(value).data)


def round_trip(content):
    value = runtime.create_scale_object("Bytes", data=ScaleBytes(bytes([4 * len(content)]) + content)).decode()
    try:
        again = encode("Bytes", value)[1:]
    except ValueError as error:
        again = str(error).split(" at ")[0]
    print(f"  {content!r:12} is read as {value!r:10} and written as {again!r}")
    return value, again


refused = "non-hexadecimal number found in fromhex() arg"
expected = {
    b"hello": ("hello", b"hello"),
    b"": ("", b""),
    b"\xff\x00": ("0xff00", b"\xff\x00"),
    b"0xff00": ("0xff00", b"\xff\x00"),
    b"0x": ("0x", b""),
    b"0xf": ("0xf", refused),
    b"0xzz": ("0xzz", refused),
}
seen = {content: round_trip(content) for content in expected}
assert seen == expected, seen
written = encode("BTreeMap<u8,u8>", [(2, 1), (1, 2)])
print("  a map of 2 and 1 is written as", written.hex())
assert written == bytes([8, 2, 1, 1, 2]), written
PYTHON
done
echo "as described"
