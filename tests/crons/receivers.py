"""Servers on loopback that misbehave as servers do: for the channels that call them."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

OK = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Receiver:
    """What a server was sent, each request whole; *over* is set when the test is."""

    port: int = 0
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    answer: Callable[[Receiver, socket.socket], None] = lambda receiver, sock: sock.sendall(OK)

    @property
    def url(self) -> str:
        """An address with a secret in it."""
        return f"http://127.0.0.1:{self.port}/hooks/s3cr3t-token"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve HTTP; Receiver.answer says what comes back."""
    found = Receiver()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline().decode()
            headers: dict[str, str] = {}
            while (text := self.rfile.readline().decode().strip()) != "":
                name, _, value = text.partition(":")
                headers[name.lower()] = value.strip()
            found.got.append((line.strip(), headers, self.rfile.read(int(headers.get("content-length", 0)))))
            with suppress(OSError):
                found.answer(found, self.connection)

    with _running(Handler) as found.port:
        try:
            yield found
        finally:
            found.over.set()


@contextmanager
def mail_server(says: dict[str, str] | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """Serve SMTP; *says* are other answers than usual, by the command."""
    mails: list[bytes] = []
    usual = {"EHLO": "250 ok", "HELO": "250 ok", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", "QUIT": "221"}
    answers = {**usual, **(says or {})}

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 loopback\r\n")
            while line := self.rfile.readline():
                verb = line[:4].decode().upper()
                self.wfile.write(f"{answers.get(verb, '500 what')}\r\n".encode())
                if verb == "DATA" and answers["DATA"].startswith("3"):
                    mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                    self.wfile.write(b"250 kept\r\n")
                if verb == "QUIT":
                    return

    with _running(Handler) as port:
        yield port, mails


@contextmanager
def dripping_mail_server(seconds: float = 0.05) -> Iterator[int]:
    """Accept, and say a letter of the greeting now and then: each single read is answered in time, for ever."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while not over.wait(seconds):
                    self.request.sendall(b"2")

    with _running(Handler) as port:
        try:
            yield port
        finally:
            over.set()


@contextmanager
def _running(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


def hangs(found: Receiver, sock: socket.socket) -> None:
    """Accept, and say nothing."""
    found.over.wait(30)


def drips(found: Receiver, sock: socket.socket) -> None:
    """Say a letter now and then, for ever: no time-out of a single read sees that."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not found.over.wait(0.05):
        sock.sendall(b"x")


def floods(found: Receiver, sock: socket.socket) -> None:
    """Answer 100 MB."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    for _ in range(100):
        sock.sendall(b"x" * 1_000_000)


def says(status: str, *headers: str) -> Callable[[Receiver, socket.socket], None]:
    """Answer with that status."""
    lines = "\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 5", "", "token"])
    return lambda found, sock: sock.sendall(lines.encode())


def closes(found: Receiver, sock: socket.socket) -> None:
    """Hang up."""
