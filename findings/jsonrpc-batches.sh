#!/usr/bin/env bash
# The examples of JSON-RPC 2.0 (section 7 of its specification), sent to four Python servers.
#
# json-rpc 1.15.0, jsonrpcserver 5.0.9, ajsonrpc 1.2.0, jsonrpclib-pelix 1.2.0. Error codes are compared, error messages are
# not.
#
# Expected: all four answer each of the fourteen examples as the specification prints it.
# Seen:     two do. In json-rpc and jsonrpcserver, one invalid request spoils the whole batch: the answer is a single error,
#           and the valid calls of the batch are not made. The specification discourages `"id": null`. The three others
#           treat it as a request and answer it; jsonrpclib-pelix treats it as a notification.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet \
    json-rpc==1.15.0 jsonrpcserver==5.0.9 jsonschema==4.26.0 OSlash==0.6.3 ajsonrpc==1.2.0 jsonrpclib-pelix==1.2.0
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import asyncio
import json
import logging

import jsonrpcserver
from ajsonrpc.dispatcher import Dispatcher
from ajsonrpc.manager import AsyncJSONRPCResponseManager
from jsonrpc import JSONRPCResponseManager
from jsonrpclib.SimpleJSONRPCServer import SimpleJSONRPCDispatcher

logging.disable(logging.CRITICAL)
calls = []


def subtract(minuend, subtrahend):
    calls.append("subtract")
    return minuend - subtrahend


def note(*args):
    return True


methods = {
    "subtract": subtract,
    "sum": lambda *args: sum(args),
    "get_data": lambda: ["hello", 5],
    "update": note,
    "notify_hello": note,
    "notify_sum": note,
}


def json_rpc(text):
    response = JSONRPCResponseManager.handle(text, methods)
    return response.json if response else None


def wrapped(function):
    return lambda *args, **named: jsonrpcserver.Success(function(*args, **named))


def server(text):
    return jsonrpcserver.dispatch(text, methods={name: wrapped(function) for name, function in methods.items()})


def ajsonrpc(text):
    manager = AsyncJSONRPCResponseManager(dispatcher=Dispatcher(dict(methods)))
    return asyncio.run(manager.get_payload_for_payload(text))


def pelix(text):
    dispatcher = SimpleJSONRPCDispatcher()
    for name, function in methods.items():
        dispatcher.register_function(function, name)
    return dispatcher._marshaled_dispatch(text)


def result(value, number):
    return {"jsonrpc": "2.0", "result": value, "id": number}


def error(code, number=None):
    return {"jsonrpc": "2.0", "error": code, "id": number}


def call(method, **members):
    return {"jsonrpc": "2.0", "method": method, **members}


invalid, unreadable, unknown = -32600, -32700, -32601
batch = [
    call("sum", params=[1, 2, 4], id="1"),
    call("notify_hello", params=[7]),
    call("subtract", params=[42, 23], id="2"),
    {"foo": "boo"},
    call("foo.get", params={"name": "myself"}, id="5"),
    call("get_data", id="9"),
]
answers = [result(7, "1"), result(19, "2"), error(invalid), error(unknown, "5"), result(["hello", 5], "9")]
examples = {
    "by place": (call("subtract", params=[42, 23], id=1), result(19, 1)),
    "by place again": (call("subtract", params=[23, 42], id=2), result(-19, 2)),
    "by name": (call("subtract", params={"subtrahend": 23, "minuend": 42}, id=3), result(19, 3)),
    "notification": (call("update", params=[1, 2, 3, 4, 5]), None),
    "notification, unknown": (call("foobar"), None),
    "unknown": (call("foobar", id="1"), error(unknown, "1")),
    "no JSON": ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', error(unreadable)),
    "invalid": (call(1, params="bar"), error(invalid)),
    "batch, no JSON": ('[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"method"]', error(unreadable)),
    "batch, empty": ([], error(invalid)),
    "batch, [1]": ([1], [error(invalid)]),
    "batch, [1,2,3]": ([1, 2, 3], [error(invalid)] * 3),
    "batch": (batch, answers),
    "batch, notifications": ([call("notify_sum", params=[1, 2, 4]), call("notify_hello", params=[7])], None),
    "id null": (call("get_data", id=None), result(["hello", 5], None)),
}
otherwise = {
    "json-rpc": {"batch, [1]": error(invalid), "batch, [1,2,3]": error(invalid), "batch": error(invalid)},
    "jsonrpcserver": {"batch, [1]": error(invalid), "batch, [1,2,3]": error(invalid), "batch": error(invalid)},
    "ajsonrpc": {},
    "jsonrpclib-pelix": {"id null": None},
}


def read(answer):
    value = json.loads(answer) if answer else None
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and isinstance(one.get("error"), dict):
            one["error"] = one["error"]["code"]
    return value


servers = {"json-rpc": json_rpc, "jsonrpcserver": server, "ajsonrpc": ajsonrpc, "jsonrpclib-pelix": pelix}
failed = False
for name, serve in servers.items():
    for example, (request, expected) in examples.items():
        calls.clear()
        got = read(serve(request if isinstance(request, str) else json.dumps(request)))
        if got != expected:
            print(f"{name}, {example}: {json.dumps(got)}{'; nothing was called' if example == 'batch' and not calls else ''}")
        failed |= got != otherwise[name].get(example, expected)
assert not failed, "it behaves otherwise than stated"
PYTHON
