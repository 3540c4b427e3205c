"""A GraphQL server on the loopback that answers as a test says, whatever it is asked."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Handler = http.server.BaseHTTPRequestHandler


@dataclass
class Server:
    """*answers*: what is said to each request in turn, the last one again and again."""

    url: str = ""
    answers: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def take(self, handler: Handler) -> None:
        """Note a request and answer it."""
        self.asked.append(json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        self.headers.append(dict(handler.headers.items()))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if callable(answer):
            answer(handler)
            return
        status, kind, body = answer if isinstance(answer, tuple) else (200, "application/json", answer)
        send(handler, status, kind, body if isinstance(body, bytes) else json.dumps(body).encode())


def send(handler: Handler, status: int, kind: str, body: bytes, *, promised: int | None = None, **headers: str) -> None:
    """Answer with *body*, promising *promised* bytes of it."""
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if promised is None else promised))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def page(connection: str, nodes: list[dict[str, Any]], cursor: str | None = None) -> dict[str, Any]:
    """Give the answer with a page of *connection*; more follow where there is a *cursor*."""
    info = {"hasNextPage": cursor is not None, "endCursor": cursor}
    return {"data": {connection: {"edges": [{"node": node} for node in nodes], "pageInfo": info}}}


def order(number: int, email: str = "", **changes: Any) -> dict[str, Any]:
    """Give a pending order as GraphQL does."""
    return {"pk": number, "status": "PENDING", "customer": {"email": email or f"c{number}@example.com"}} | changes


@contextmanager
def running() -> Iterator[Server]:
    """Have a server listen for as long as this lasts."""
    server = Server(answers=[{"data": {"hello": "Hello, GraphQL!"}}])

    class _Handler(Handler):
        do_POST: Callable[..., None] = lambda self: server.take(self)

        def log_message(self, *args: Any) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listening.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that went away is the test
    server.url = f"http://127.0.0.1:{listening.server_port}/graphql"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        listening.shutdown()
        thread.join()
        listening.server_close()
