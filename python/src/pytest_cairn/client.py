"""JSON-RPC 2.0 over one HTTP connection, with the methods of a Cairn node."""

import http.client
import json
from base64 import b64encode
from collections.abc import Sequence
from itertools import count
from typing import Any, Self
from urllib.parse import urlsplit

from .methods import Methods

TIMEOUT_SECS = 60.0


class RpcError(Exception):
    """The node refused a call. `code` is Bitcoin Core's where the meaning is the same."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


class Client(Methods):
    """A node at a URL such as `http://127.0.0.1:7332`. `credentials` are `user:password`, the content of its `.cookie`.

    One thread at a time may use it.
    """

    def __init__(self, url: str, credentials: str, timeout: float = TIMEOUT_SECS) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url}: expected http://HOST:PORT")
        self.url = url
        self.credentials = credentials
        self._path = parts.path or "/"
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
        self._headers = {
            "Authorization": "Basic " + b64encode(credentials.encode()).decode(),
            "Content-Type": "application/json",
        }
        self._ids = count(1)

    def call(self, method: str, params: Sequence[Any] = ()) -> Any:
        """The result of a call, also of one that no other method names. `None` stands for a parameter's default."""
        request = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        body = json.dumps(request).encode()
        status, text = self._post(body)
        if status != 200 and not text.startswith(b"{"):
            raise ConnectionError(f"{self.url}: HTTP {status}: {text.decode(errors='replace').strip()}")
        answer = json.loads(text)
        if error := answer.get("error"):
            raise RpcError(error["code"], error["message"])
        return answer["result"]

    def _post(self, body: bytes) -> tuple[int, bytes]:
        try:
            self._connection.request("POST", self._path, body, self._headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except BaseException:
            # What is left of the answer is not the next one's.
            self._connection.close()
            raise

    def close(self) -> None:
        """Closes the connection; the next call opens another."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
