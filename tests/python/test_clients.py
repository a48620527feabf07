"""The Bitcoin ecosystem's client libraries, as they are published, against a real node."""

import http.client
import json
from base64 import b64encode

import pytest
from bitcoin.rpc import InvalidParameterError, JSONRPCError, RawProxy, VerifyRejectedError
from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException
from jsonrpcclient import Error, Ok, notification, parse, request

# An address of no network that these tests use, and bytes that are no transaction.
FOREIGN = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"


class TestBitcoinRpc:
    """python-bitcoinrpc: JSON-RPC 1.1 over one connection."""

    @pytest.fixture
    def rpc(self, url):
        return AuthServiceProxy(url())

    def test_calls(self, rpc):
        best = rpc.getbestblockhash()
        assert rpc.getblockcount() == 5
        assert rpc.getblock(best)["height"] == 5
        assert rpc.getblock(best, 0)[:8] == rpc.getblockheader(best, False)[:8]
        assert rpc.getblockchaininfo()["bestblockhash"] == best
        assert rpc.gettxout("00" * 32, 0) is None

    def test_the_chain_block_by_block(self, rpc):
        previous = None
        for height in range(rpc.getblockcount() + 1):
            block = rpc.getblock(rpc.getblockhash(height), 2)
            assert (block["height"], block.get("previousblockhash")) == (height, previous)
            assert block["tx"][0]["vin"][0].keys() == {"coinbase", "sequence"}
            previous = block["hash"]
        assert previous == rpc.getbestblockhash()

    @pytest.mark.parametrize(("code", "message", "method", "params"), [
        (-32601, "Method not found", "getpizza", []),
        (-8, "Block height out of range", "getblockhash", [1_000_000]),
        (-5, "Block not found", "getblock", ["00" * 32]),
        (-22, "TX decode failed", "sendrawtransaction", ["00"]),
        (-5, "Invalid address", "generatetoaddress", [1, FOREIGN]),
        (-3, "blockhash", "getblock", [5]),
        (-1, "Usage", "getblockhash", []),
    ])
    def test_errors(self, rpc, code, message, method, params):
        with pytest.raises(JSONRPCException) as caught:
            getattr(rpc, method)(*params)
        assert caught.value.code == code
        assert message in caught.value.message
        # The connection goes on.
        assert rpc.getblockcount() == 5

    def test_its_batches_are_of_2_0_and_read_as_1_0(self, rpc):
        # It asks as 2.0 and then wants an "error" in every answer, which 2.0 forbids where there is a result: as with
        # Bitcoin Core since version 28, which answers the same.
        with pytest.raises(KeyError):
            rpc.batch_([["getblockcount"]])
        # Where each fails, there is an error to read.
        with pytest.raises(JSONRPCException) as caught:
            rpc.batch_([["getblockhash", 1_000_000]])
        assert caught.value.code == -8

    def test_wallet_paths_and_wrong_credentials(self, url):
        assert AuthServiceProxy(url(path="/wallet/ada")).getblockcount() == 5
        with pytest.raises(JSONRPCException) as caught:
            AuthServiceProxy(url("ada:wrong")).getblockcount()
        assert "401 Unauthorized" in caught.value.message


class TestBitcoinLib:
    """python-bitcoinlib: JSON-RPC 1.1, errors by class, batches as they are given."""

    @pytest.fixture
    def rpc(self, url):
        rpc = RawProxy(url())
        yield rpc
        rpc.close()

    def test_calls_and_errors(self, rpc):
        assert rpc.getblockhash(0) == rpc.getblockchaininfo()["genesisblockhash"]
        with pytest.raises(InvalidParameterError):
            rpc.getblockhash(1_000_000)
        with pytest.raises(JSONRPCError) as caught:
            rpc.getpizza()
        assert caught.value.error["code"] == -32601

    def test_a_legacy_batch(self, rpc):
        calls = [("getblockcount", []), ("getpizza", []), ("getblockhash", [0])]
        answers = rpc._batch({"method": method, "params": params, "id": id_}
                             for id_, (method, params) in enumerate(calls))
        assert [answer["id"] for answer in answers] == [0, 1, 2]
        assert all(answer.keys() == {"result", "error", "id"} for answer in answers)
        assert (answers[0]["result"], answers[0]["error"]) == (5, None)
        assert (answers[1]["result"], answers[1]["error"]["code"]) == (None, -32601)

    def test_a_payment_that_is_no_good(self, rpc):
        coinbase = rpc.getblock(rpc.getblockhash(1), 2)["tx"][0]["hex"]
        with pytest.raises(VerifyRejectedError):
            rpc.sendrawtransaction(coinbase)


class TestJsonRpcClient:
    """jsonrpcclient: JSON-RPC 2.0 by the book."""

    @pytest.fixture
    def post(self, node):
        connection = http.client.HTTPConnection(node.url.removeprefix("http://"), timeout=60)
        authorization = "Basic " + b64encode(node.credentials.encode()).decode()
        headers = {"Authorization": authorization, "Content-Type": "application/json"}

        def post(body):
            connection.request("POST", "/", json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        yield post
        connection.close()

    def test_calls(self, post, node):
        for body in [request("getblockhash", params=[0]), request("getblockhash", params={"height": 0})]:
            status, text = post(body)
            answer = json.loads(text)
            assert (status, answer.keys()) == (200, {"jsonrpc", "result", "id"})
            assert parse(answer) == Ok(node.getblockhash(0), body["id"])

    def test_errors(self, post):
        status, text = post(request("getpizza"))
        answer = json.loads(text)
        assert (status, answer.keys()) == (200, {"jsonrpc", "error", "id"})
        assert isinstance(parse(answer), Error)
        assert parse(answer).code == -32601

    def test_notifications(self, post):
        assert post(notification("getblockcount")) == (204, b"")
        assert post([notification("getblockcount"), notification("getpizza")]) == (204, b"")

    def test_batches(self, post):
        status, text = post([request("getblockcount"), notification("uptime"), request("getpizza")])
        first, second = parse(json.loads(text))
        assert (status, first.result, second.code) == (200, 5, -32601)
