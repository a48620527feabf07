"""The OpenRPC document of rpc.discover, read by others: the models of the `openrpc` package, and JSON Schema's own schema."""

import unittest

import jsonschema
from bitcoin.rpc import RawProxy
from openrpc import OpenRPC

from node import Node


class Discover(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        node = cls.enterClassContext(Node())
        # Also work for miners is answered where somebody is named who is to be paid.
        cls.rpc = RawProxy(node.url(path=f"/mine/{node.payee}"))
        cls.document = getattr(cls.rpc, "rpc.discover")()

    def test_it_is_an_openrpc_document(self):
        read = OpenRPC.model_validate(self.document)
        # What the models do not know they would leave out.
        self.assertEqual(read.model_dump(mode="json", by_alias=True, exclude_unset=True), self.document)
        self.assertRegex(read.openrpc, r"^1\.[23]\.\d+$")

    def test_its_schemas_are_schemas(self):
        for method in self.document["methods"]:
            for described in [*method["params"], method["result"]]:
                with self.subTest(method["name"], parameter=described["name"]):
                    jsonschema.Draft7Validator.check_schema(described["schema"])

    def test_defaults_and_results_are_as_described(self):
        methods = {method["name"]: method for method in self.document["methods"]}
        for name, method in methods.items():
            for param in method["params"]:
                if "default" in param["schema"]:
                    with self.subTest(name, parameter=param["name"]):
                        jsonschema.validate(param["schema"]["default"], param["schema"])
            if not any(param["required"] for param in method["params"]) and name.startswith(("get", "rpc")):
                with self.subTest(name):
                    jsonschema.validate(getattr(self.rpc, name)(), method["result"]["schema"])


if __name__ == "__main__":
    unittest.main()
