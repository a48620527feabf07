#!/usr/bin/env bash
# The numeric instructions of WebAssembly, run by a Python interpreter and by wasmtime, on edge values, and what is left after a
# trap.
#
# pywasm 2.2.3 and wasmtime 50.0.1 (over Rust). 136 instructions with one or two operands, of the same module. A NaN is a NaN,
# whatever its bits, which the specification leaves open; any error of pywasm counts as a trap.
#
# Expected: the same results and the same traps. After a trap the instance can be called again.
# Seen:     so it is for 123 instructions, conversions and shifts among them. In pywasm i64.div_u raises an OverflowError for a
#           quotient of 2^63 or more, even for that of all ones by 1. ceil, floor, trunc and nearest lose the sign of zero, and
#           of two zeros min and max give the first. So a program computes other numbers than in all browsers, and nodes that
#           must agree do not. After a trap, as of a division by zero, each further call of any function is an
#           AssertionError.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check pywasm==2.2.3 wasmtime==50.0.1
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import itertools
import math
import struct

import pywasm
import wasmtime

WORDS = [0, 1, 2, -1, 31, 32, 33, 127, 128, 255, 0x7FFFFFFF, -0x80000000, 0x8000, -129]
LONGS = [*WORDS, 63, 64, 65, 2**63 - 1, -(2**63), 2**32 - 1, 2**53 + 1, -(2**53) - 1]
SINGLES = [0.0, 1.0, 0.5, 1.5, 2.5, math.inf, 2.0**31, 2.0**32, 2.0**63, 2.0**64, 2.0**-149, 2.0**24 + 2, 0.875]
SINGLES = [sign * value for value in SINGLES for sign in (1, -1)] + [math.nan]
DOUBLES = [*SINGLES, 2.0**52 + 1.5, 1e308, 5e-324, 2147483647.9, -2147483648.9, 4294967295.9, math.nextafter(0.5, 0)]
VALUES = {"i32": WORDS, "i64": LONGS, "f32": SINGLES, "f64": DOUBLES}


def instructions():
    """Names, types of operands, type of the result."""
    for kind in ("i32", "i64"):
        for name in "clz ctz popcnt extend8_s extend16_s".split():
            yield f"{kind}.{name}", [kind], kind
        for name in "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr".split():
            yield f"{kind}.{name}", [kind, kind], kind
        for name in "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u".split():
            yield f"{kind}.{name}", [kind, kind], "i32"
        yield f"{kind}.eqz", [kind], "i32"
        for real, sign in itertools.product(("f32", "f64"), "su"):
            yield f"{kind}.trunc_{real}_{sign}", [real], kind
            yield f"{kind}.trunc_sat_{real}_{sign}", [real], kind
            yield f"{real}.convert_{kind}_{sign}", [kind], real
    for name in "extend_i32_s extend_i32_u extend32_s".split():
        yield f"i64.{name}", ["i32" if "i32" in name else "i64"], "i64"
    for name in "i32.wrap_i64 f32.demote_f64 f64.promote_f32".split():
        yield name, [name[-3:]], name[:3]
    for name in "i32.reinterpret_f32 f32.reinterpret_i32 i64.reinterpret_f64 f64.reinterpret_i64".split():
        yield name, [name[-3:]], name[:3]
    for kind in ("f32", "f64"):
        for name in "abs neg ceil floor trunc nearest sqrt".split():
            yield f"{kind}.{name}", [kind], kind
        for name in "add sub mul div min max copysign".split():
            yield f"{kind}.{name}", [kind, kind], kind
        for name in "eq ne lt gt le ge".split():
            yield f"{kind}.{name}", [kind, kind], "i32"


INSTRUCTIONS = list(instructions())
functions = (
    f'(func (export "{name}") {" ".join(f"(param {kind})" for kind in operands)} (result {result})'
    f" {' '.join(f'local.get {at}' for at in range(len(operands)))} {name})"
    for name, operands, result in INSTRUCTIONS
)
module = wasmtime.wat2wasm(f"(module {' '.join(functions)})")
with open("module.wasm", "wb") as file:
    file.write(module)
store = wasmtime.Store()
exports = wasmtime.Instance(store, wasmtime.Module(store.engine, module), []).exports(store)


def fresh():
    runtime = pywasm.core.Runtime()
    return runtime, runtime.instance_from_file("module.wasm")


def by_wasmtime(name, operands):
    try:
        return exports[name](store, *operands)
    except wasmtime.Trap:
        return "trap"


def by_pywasm(name, operands):
    """Afresh after each error, since nothing works after one."""
    global runtime, instance
    try:
        return runtime.invocate(instance, name, list(operands))[0]
    except Exception:
        runtime, instance = fresh()
        return "trap"


def bits(kind, value):
    if isinstance(value, str) or value != value:
        return str(value)
    return struct.pack("<d", value) if kind[0] == "f" else value & (2 ** int(kind[1:]) - 1)


runtime, instance = fresh()
differ = {}
for name, kinds, result in INSTRUCTIONS:
    for operands in itertools.product(*(VALUES[kind] for kind in kinds)):
        right, seen = by_wasmtime(name, operands), by_pywasm(name, operands)
        if bits(result, right) != bits(result, seen):
            differ.setdefault(name, f"{', '.join(map(str, operands))}: {right} by wasmtime, {seen} by pywasm")
print(f"{len(INSTRUCTIONS) - len(differ)} of {len(INSTRUCTIONS)} instructions alike")
for name, sample in differ.items():
    print(f"  {name} of {sample}")
signs = {f"{kind}.{name}" for kind in ("f32", "f64") for name in "ceil floor trunc nearest min max".split()}
assert set(differ) == signs | {"i64.div_u"} and differ["i64.div_u"] == "-1, 1: -1 by wasmtime, trap by pywasm"

runtime, instance = fresh()
for name, operands in [("i32.add", [1, 2]), ("i32.div_s", [1, 0]), ("i32.add", [1, 2])]:
    right = by_wasmtime(name, operands)
    try:
        seen = runtime.invocate(instance, name, list(operands))[0]
    except Exception as error:
        seen = type(error).__name__
    print(f"{name} of {operands}: {right} by wasmtime, {seen} by pywasm")
assert (right, seen) == (3, "AssertionError")
PYTHON
