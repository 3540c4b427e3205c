"""A receiver of webhooks on the loopback that misbehaves as the path asks: one server for all tests."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Signed by itself, for receiver.test, until 2126; its key opens nothing else.
CERTIFICATE = Path(__file__).with_suffix(".pem")
PATIENCE_SECONDS = 60
Handler = http.server.BaseHTTPRequestHandler


@dataclass
class Receiver:
    """*asked* has each request: path, headers, body. *doing* has what a path of the test's own does."""

    port: int = 0
    tls_port: int = 0
    asked: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    doing: dict[str, Callable[[Handler], None]] = field(default_factory=dict)
    names: list[str | None] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]

    def take(self, handler: Handler) -> None:
        """Note a request, and do what its path says."""
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        self.asked.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}, body))
        name = handler.path.partition("?")[0].strip("/")
        (self.doing.get(name) or getattr(self, f"_{name}", None) or _status(int(name)))(handler)

    def _hang(self, handler: Handler) -> None:
        self.closing.wait(PATIENCE_SECONDS)

    def _drip(self, handler: Handler) -> None:
        """A header that never ends, a letter at a time: each read gets something."""
        handler.send_response(200)
        handler.flush_headers()
        while not self.closing.wait(0.01):
            handler.wfile.write(b"X-Drip: a\r\n")

    def _itself(self, handler: Handler) -> None:
        _answer(handler, 302, Location=f"{self.url}/itself")

    def _slower(self, handler: Handler) -> None:
        _answer(handler, 429, **{"Retry-After": "7200"})

    def _busy(self, handler: Handler) -> None:
        _answer(handler, 503, **{"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"})

    def _huge(self, handler: Handler) -> None:
        """Says 100 MB, and sends as much as is read."""
        handler.send_response(200)
        handler.send_header("Content-Length", "100000000")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x" * 1_000_000)

    def _middle(self, handler: Handler) -> None:
        """Ends in the middle of the first line."""
        handler.wfile.write(b"HTTP/1.1 2")
        handler.close_connection = True

    def _garbage(self, handler: Handler) -> None:
        handler.wfile.write(b"\x00\xff" * 500 + b"\r\n\r\n")
        handler.close_connection = True


def _status(status: int) -> Callable[[Handler], None]:
    return lambda handler: _answer(handler, status, body=b"as you say\x1b[31m")


def _answer(handler: Handler, status: int, *, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def running() -> Iterator[Receiver]:
    """Have it listen, with TLS and without, for as long as this lasts."""
    receiver = Receiver()

    class _Handler(Handler):
        do_POST: Callable[..., None] = lambda self: receiver.take(self)

        def log_message(self, *args: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    context.sni_callback = lambda _, name, __: receiver.names.append(name)
    plain, tls = (http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) for _ in range(2))
    tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
    receiver.port, receiver.tls_port = plain.server_port, tls.server_port
    for server in (plain, tls):
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that went away is the test
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        for server in (plain, tls):
            server.shutdown()
            with suppress(OSError):
                server.server_close()
