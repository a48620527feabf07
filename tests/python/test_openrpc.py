"""The OpenRPC document of rpc.discover, read by others: the models of the `openrpc` package, JSON Schema's own schema,
and the generator of the Python client."""

import importlib.util
import re
from pathlib import Path

import jsonschema
import pytest
from openrpc import OpenRPC
from pytest_cairn import Client, methods

PYTHON = Path(__file__).parents[2] / "python"


@pytest.fixture
def document(node):
    return node.rpc_discover()


def test_it_is_an_openrpc_document(document):
    read = OpenRPC.model_validate(document)
    # What the models do not know they would leave out.
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == document
    assert re.match(r"^1\.[23]\.\d+$", read.openrpc)


def test_its_schemas_are_schemas(document):
    for method in document["methods"]:
        for described in [*method["params"], method["result"]]:
            jsonschema.Draft7Validator.check_schema(described["schema"])


def test_defaults_and_results_are_as_described(document, node, payee):
    # Where the path names a payee, the node also answers with work for miners.
    miner = Client(f"{node.url}/mine/{payee}", node.credentials)
    for method in document["methods"]:
        name = method["name"]
        for param in method["params"]:
            if "default" in param["schema"]:
                jsonschema.validate(param["schema"]["default"], param["schema"])
        if not any(param["required"] for param in method["params"]) and name.startswith(("get", "rpc", "list")):
            jsonschema.validate(miner.call(name), method["result"]["schema"])


def test_the_client_is_generated_from_it(document):
    spec = importlib.util.spec_from_file_location("generate", PYTHON / "generate.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    written = Path(methods.__file__).read_text()
    assert written == generator.generate(document), "cairn rpc rpc.discover | python python/generate.py writes it anew"
