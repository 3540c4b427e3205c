"""How a question goes over HTTP and its answer comes back: once, bounded in size and in time, followed nowhere."""

import json
import re
import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from gql.transport.requests import RequestsHTTPTransport
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

T = TypeVar("T")
_CONNECT_SECONDS = 5.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_REMEMBERED = 1_000


class Transport(RequestsHTTPTransport):
    """gql's transport: no redirect, no retry, no more of the answer than is allowed."""

    def __init__(self, url: str, token: str, timeout_seconds: float, answer: "Answer") -> None:
        # To connect, and to read: requests takes the two, where gql's annotation has one.
        waits: Any = (min(_CONNECT_SECONDS, timeout_seconds), timeout_seconds)
        super().__init__(
            url,
            auth=_Bearer(token),
            timeout=waits,
            json_deserialize=_json_object,
            allow_redirects=False,
        )
        self._answer = answer

    def connect(self) -> None:
        """Open the session."""
        super().connect()  # type: ignore[no-untyped-call]
        assert self.session is not None
        # On this machine nothing is asked through a proxy that a shell's environment names.
        self.session.trust_env = urlsplit(self.url).hostname not in _LOOPBACK
        for prefix in ("http://", "https://"):
            self.session.mount(prefix, self._answer)


class Answer(HTTPAdapter):
    """Reads an answer whole but bounded, and remembers how it looked, for an error to say so."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes = max_bytes
        self.status = 0
        self.is_whole = False
        self.wait_seconds = 0
        self.kind = self.location = self.text = ""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send *request*; the response has its body.

        Raises: ValueError for a body that is too large; what requests and urllib3 raise.
        """
        response = super().send(request, *args, **{**options, "stream": True})
        self.status = response.status_code
        self.kind = response.headers.get("Content-Type", "of no type").partition(";")[0]
        self.location = response.headers.get("Location", "")
        wait = response.headers.get("Retry-After", "")
        self.wait_seconds = int(wait) if self.status == 429 and re.fullmatch("[0-9]{1,6}", wait) else 0
        body = b""
        while piece := response.raw.read(65_536, decode_content=True):
            body += piece
            if len(body) > self.max_bytes:
                response.close()
                raise ValueError(f"it has more than {self.max_bytes} bytes")
        self.text = body[:_REMEMBERED].decode("utf-8", "replace")
        self.is_whole = True
        # JSON is UTF-8; without this, requests would guess.
        response.raw, response.encoding = BytesIO(body), "utf-8"
        return response


class _Bearer(AuthBase):
    """Puts the token into the request; as `auth`, so that a ~/.netrc cannot take its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def within(seconds: float, work: Callable[[], T]) -> T:
    """Give what *work* gives: a socket's time-out begins anew with each byte, and names resolve without one.

    Raises: what *work* raises; TimeoutError when it takes longer, and is left alone.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 (raised again, in the thread that waits)
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="asking GraphQL")
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]


def _json_object(text: str) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise TypeError(f"a JSON object was expected, not {type(document).__name__}")
    return document
