"""One JSON-RPC endpoint, asked through web3's provider: no middleware (so no name service), no retries of its own.

Whoever asks decides what to repeat. Errors name an endpoint by scheme, host and port alone: paths and user names of
node URLs are often secret keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from json import JSONDecodeError
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import requests
from web3 import HTTPProvider
from web3.providers import BaseProvider

from ledger.chain.answers import plain
from ledger.errors.chain import NodeAnswerError, NodeUnreachableError, NodeUrlError


class RefusedError(NodeAnswerError):
    """An error that the endpoint answered with; `data` is what came with it, of any form."""

    def __init__(self, method: str, message: str, code: int | None, data: object) -> None:
        self.data = data
        super().__init__(method, message, code)


class Endpoint:
    """A JSON-RPC endpoint."""

    def __init__(self, url_or_provider: str | BaseProvider, *, timeout: float = 10.0) -> None:
        """`timeout` is in seconds, for each answer as a whole. Raises NodeUrlError."""
        self.timeout = timeout
        if isinstance(url_or_provider, str):
            self.name = _shown(url_or_provider)
            provider = _http(url_or_provider, timeout)
            self._ask: Callable[[Any, Any], Any] = lambda method, params: _within(
                timeout, lambda: provider.make_request(method, params)
            )
        else:
            self.name = type(url_or_provider).__name__
            self._ask = url_or_provider.make_request

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r})"

    def ask(self, method: str, params: Sequence[object]) -> Any:
        """The result of a request.

        Raises NodeUnreachableError where no answer came, so that it may have been done; RefusedError where the answer
        is an error; NodeAnswerError where it has neither result nor error.
        """
        answer = self._answer(method, params)
        if not isinstance(answer, dict):
            raise NodeUnreachableError(self.name, "answers with something that is not JSON-RPC")
        error = answer.get("error")
        if error is not None:
            raise _refused(method, error)
        if "result" not in answer:
            raise NodeAnswerError(method, "neither a result nor an error")
        return answer["result"]

    def _answer(self, method: str, params: Sequence[object]) -> object:
        try:
            return self._ask(method, list(params))
        except requests.Timeout as error:
            raise NodeUnreachableError(self.name, f"does not answer within {self.timeout:g} seconds") from error
        except requests.HTTPError as error:
            return self._body(error)
        except (JSONDecodeError, UnicodeDecodeError) as error:
            raise NodeUnreachableError(self.name, "answers with something that is not JSON-RPC") from error
        except (requests.RequestException, OSError) as error:
            raise NodeUnreachableError(self.name, "cannot be reached") from error

    def _body(self, error: requests.HTTPError) -> object:
        """Some nodes answer errors under another status than 200."""
        response = error.response
        try:
            answer = None if response is None else response.json()
        except ValueError:
            answer = None
        if isinstance(answer, dict) and "error" in answer and "jsonrpc" in answer:
            return answer
        status = "another status than 200" if response is None else f"status {response.status_code}"
        raise NodeUnreachableError(self.name, f"answers with HTTP {status}") from error


def _http(url: str, timeout: float) -> HTTPProvider:
    return HTTPProvider(url, {"timeout": timeout}, session=requests.Session(), exception_retry_configuration=None)


def _within(timeout: float, ask: Callable[[], Any]) -> Any:
    """The answer, or requests.Timeout: its own limit starts anew with every byte, and some nodes drip them."""
    answered = SimpleQueue[tuple[Any, BaseException | None]]()

    def run() -> None:
        try:
            answered.put((ask(), None))
        except BaseException as error:  # noqa: BLE001 (it is raised below)
            answered.put((None, error))

    Thread(target=run, daemon=True).start()
    try:
        answer, error = answered.get(timeout=timeout)
    except Empty as late:
        raise requests.Timeout from late
    if error is not None:
        raise error
    return answer


def _shown(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise NodeUrlError from None
    if parts.scheme not in ("http", "https") or not host:
        raise NodeUrlError
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _refused(method: str, error: object) -> RefusedError:
    if not isinstance(error, dict):
        return RefusedError(method, plain(str(error)), None, None)
    code = error.get("code")
    message = plain(str(error.get("message", ""))) or "an error without a message"
    return RefusedError(method, message, code if isinstance(code, int) else None, error.get("data"))
