"""A JSON-RPC server on the loopback that answers as a test wants: wrong, late, or what another server says, changed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ledger.chain.rpc import Endpoint, RefusedError

Answer = Callable[..., Any]  # what to answer for a method's parameters


class RpcError(Exception):
    """Raised by an answer, to answer with an error object."""

    def __init__(self, **error: Any) -> None:
        self.error = error
        super().__init__(str(error))


class FakeRpc:
    """What the server answers: by method, else what `upstream` says; before all, `body` or `status` where they are set.

    An answer that is a function gets the parameters, where it is in `answers`, or also what upstream said, where it is
    in `changes`.
    """

    def __init__(self, upstream: str | None = None) -> None:
        self.answers: dict[str, Any] = {}
        self.changes: dict[str, Answer] = {}
        self.body: bytes | None = None
        self.status = 200
        self.hangs = threading.Event()  # while set, nothing is answered
        self.drips = threading.Event()  # while set, answers never end
        self.closing = threading.Event()
        self.asked: list[tuple[str, list[Any]]] = []
        self.url = ""
        self._upstream = Endpoint(upstream, timeout=60) if upstream else None

    def methods(self) -> list[str]:
        """The methods that were asked for, in turn."""
        return [method for method, _ in self.asked]

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        method, params = request["method"], request["params"]
        head = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            return {**head, "result": self._result(method, params)}
        except RpcError as error:
            return {**head, "error": error.error}
        except RefusedError as error:
            return {**head, "error": {"code": error.code, "message": error.message, "data": error.data}}

    def _result(self, method: str, params: list[Any]) -> Any:
        if method in self.answers:
            answer = self.answers[method]
            return answer(*params) if callable(answer) else answer
        if self._upstream is None:
            raise RpcError(code=-32601, message=f"the method {method} does not exist")
        said = self._upstream.ask(method, params)
        return self.changes[method](said, *params) if method in self.changes else said


@contextmanager
def running(upstream: str | None = None) -> Iterator[FakeRpc]:
    """Start a server, and stop it."""
    fake = FakeRpc(upstream)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            request = json.loads(sent)
            fake.asked.append((request["method"], request["params"]))
            while fake.hangs.is_set() and not fake.closing.wait(0.01):
                pass
            if fake.closing.is_set():
                return
            body = json.dumps(fake.reply(request)).encode() if fake.body is None else fake.body
            self.send_response(fake.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body) + 10**6 * fake.drips.is_set()))
            self.end_headers()
            while fake.drips.is_set() and not fake.closing.wait(0.02):
                self.wfile.write(b" ")
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.closing.set()
        server.shutdown()
        server.server_close()
