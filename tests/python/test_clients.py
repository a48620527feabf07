"""The Bitcoin ecosystem's client libraries, as they are published, against a real node."""

import http.client
import json
import unittest
from base64 import b64encode

from bitcoin.rpc import InvalidParameterError, JSONRPCError, RawProxy, VerifyRejectedError
from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException
from jsonrpcclient import Error, Ok, notification, parse, request

from node import Node

# An address of no network that these tests use, and bytes that are no transaction.
FOREIGN = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"


def setUpModule():
    global NODE
    NODE = unittest.enterModuleContext(Node())
    AuthServiceProxy(NODE.url()).generatetoaddress(5, NODE.payee)


class BitcoinRpc(unittest.TestCase):
    """python-bitcoinrpc: JSON-RPC 1.1 over one connection."""

    def setUp(self):
        self.rpc = AuthServiceProxy(NODE.url())

    def test_calls(self):
        best = self.rpc.getbestblockhash()
        self.assertEqual(self.rpc.getblockcount(), 5)
        self.assertEqual(self.rpc.getblock(best)["height"], 5)
        self.assertEqual(self.rpc.getblock(best, 0)[:8], self.rpc.getblockheader(best, False)[:8])
        self.assertEqual(self.rpc.getblockchaininfo()["bestblockhash"], best)
        self.assertIsNone(self.rpc.gettxout("00" * 32, 0))

    def test_the_chain_block_by_block(self):
        previous = None
        for height in range(self.rpc.getblockcount() + 1):
            block = self.rpc.getblock(self.rpc.getblockhash(height), 2)
            self.assertEqual((block["height"], block.get("previousblockhash")), (height, previous))
            self.assertEqual(block["tx"][0]["vin"][0].keys(), {"coinbase"})
            previous = block["hash"]
        self.assertEqual(previous, self.rpc.getbestblockhash())

    def test_errors(self):
        for code, message, method, params in [
            (-32601, "Method not found", "getpizza", []),
            (-8, "Block height out of range", "getblockhash", [1_000_000]),
            (-5, "Block not found", "getblock", ["00" * 32]),
            (-22, "TX decode failed", "sendrawtransaction", ["00"]),
            (-5, "Invalid address", "generatetoaddress", [1, FOREIGN]),
            (-3, "blockhash", "getblock", [5]),
            (-1, "Usage", "getblockhash", []),
        ]:
            with self.subTest(method), self.assertRaises(JSONRPCException) as caught:
                getattr(self.rpc, method)(*params)
            self.assertEqual(caught.exception.code, code)
            self.assertIn(message, caught.exception.message)

    def test_an_error_does_not_end_the_connection(self):
        with self.assertRaises(JSONRPCException):
            self.rpc.getpizza()
        self.assertEqual(self.rpc.getblockcount(), 5)

    def test_its_batches_are_of_2_0_and_read_as_1_0(self):
        # It asks as 2.0 and then wants an "error" in every answer, which 2.0 forbids where there is a result: as with
        # Bitcoin Core since version 28, which answers the same.
        with self.assertRaises(KeyError):
            self.rpc.batch_([["getblockcount"]])
        # Where each fails, there is an error to read.
        with self.assertRaises(JSONRPCException) as caught:
            self.rpc.batch_([["getblockhash", 1_000_000]])
        self.assertEqual(caught.exception.code, -8)

    def test_wallet_paths_and_wrong_credentials(self):
        self.assertEqual(AuthServiceProxy(NODE.url(path="/wallet/ada")).getblockcount(), 5)
        self.assertEqual(AuthServiceProxy(NODE.url(NODE.cookie())).getblockcount(), 5)
        with self.assertRaises(JSONRPCException) as caught:
            AuthServiceProxy(NODE.url("ada:wrong")).getblockcount()
        self.assertIn("401 Unauthorized", caught.exception.message)


class BitcoinLib(unittest.TestCase):
    """python-bitcoinlib: JSON-RPC 1.1, errors by class, batches as they are given."""

    def setUp(self):
        self.rpc = RawProxy(NODE.url())
        self.addCleanup(self.rpc.close)

    def test_calls_and_errors(self):
        self.assertEqual(self.rpc.getblockhash(0), self.rpc.getblockchaininfo()["genesisblockhash"])
        with self.assertRaises(InvalidParameterError):
            self.rpc.getblockhash(1_000_000)
        with self.assertRaises(JSONRPCError) as caught:
            self.rpc.getpizza()
        self.assertEqual(caught.exception.error["code"], -32601)

    def test_a_legacy_batch(self):
        calls = [("getblockcount", []), ("getpizza", []), ("getblockhash", [0])]
        answers = self.rpc._batch({"method": method, "params": params, "id": id_}
                                  for id_, (method, params) in enumerate(calls))
        self.assertEqual([answer["id"] for answer in answers], [0, 1, 2])
        self.assertTrue(all(answer.keys() == {"result", "error", "id"} for answer in answers))
        self.assertEqual((answers[0]["result"], answers[0]["error"]), (5, None))
        self.assertEqual((answers[1]["result"], answers[1]["error"]["code"]), (None, -32601))

    def test_a_payment_that_is_no_good(self):
        coinbase = self.rpc.getblock(self.rpc.getblockhash(1), 2)["tx"][0]["hex"]
        with self.assertRaises(VerifyRejectedError):
            self.rpc.sendrawtransaction(coinbase)


class JsonRpcClient(unittest.TestCase):
    """jsonrpcclient: JSON-RPC 2.0 by the book."""

    def post(self, body):
        connection = http.client.HTTPConnection(NODE.address, timeout=60)
        self.addCleanup(connection.close)
        authorization = "Basic " + b64encode(b"ada:secret").decode()
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        connection.request("POST", "/", json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()

    def test_calls(self):
        for body in [request("getblockhash", params=[0]), request("getblockhash", params={"height": 0})]:
            status, text = self.post(body)
            answer = json.loads(text)
            self.assertEqual((status, answer.keys()), (200, {"jsonrpc", "result", "id"}))
            self.assertEqual(parse(answer), Ok(RawProxy(NODE.url()).getblockhash(0), body["id"]))

    def test_errors(self):
        status, text = self.post(request("getpizza"))
        answer = json.loads(text)
        self.assertEqual((status, answer.keys()), (200, {"jsonrpc", "error", "id"}))
        self.assertIsInstance(parse(answer), Error)
        self.assertEqual(parse(answer).code, -32601)

    def test_notifications(self):
        self.assertEqual(self.post(notification("getblockcount")), (204, b""))
        self.assertEqual(self.post([notification("getblockcount"), notification("getpizza")]), (204, b""))

    def test_batches(self):
        status, text = self.post([request("getblockcount"), notification("uptime"), request("getpizza")])
        first, second = parse(json.loads(text))
        self.assertEqual((status, first.result, second.code), (200, 5, -32601))


if __name__ == "__main__":
    unittest.main()
