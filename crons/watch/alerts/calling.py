"""One POST over HTTP(S) with the standard library: within a time, whatever the other side does; no redirects."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from crons.watch.alerts.base import NotSent

# For a connection, and for each read; a side that drips is ended by the second.
READ_SECONDS, LONGEST_SECONDS = 10.0, 20.0
# Of the answer only the status counts: of 100 MB no more is read.
READ_BYTES = 1_000
USER_AGENT = "django-crons"


@dataclass
class _Cut:
    """Ends a connection from another thread: close() alone would not wake who reads from it."""

    sock: socket.socket | None = None
    was: bool = False

    def __call__(self) -> None:
        self.was = True
        if self.sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def post(url: str, body: bytes, headers: Mapping[str, str], *, seconds: float = LONGEST_SECONDS) -> int:
    """Send *body* to *url* and return the status, which is one of 2xx.

    Raises: NotSent for all else; its message names the host only, for the rest of an address may be a secret.
    """
    parts = urlsplit(url)
    cut = _Cut()
    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        status = _post(parts, body, headers, cut)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotSent(f"{parts.hostname}: {_why(error, cut, seconds)}") from None
    finally:
        timer.cancel()
    if cut.was:  # in the middle of headers, which http.client takes for their end
        raise NotSent(f"{parts.hostname}: no answer within {seconds:g} s")
    if 300 <= status < 400:
        raise NotSent(f"{parts.hostname} answered {status}: redirects are not followed; give the address it leads to")
    if not 200 <= status < 300:
        raise NotSent(f"{parts.hostname} answered {status}")
    return status


def _post(parts: SplitResult, body: bytes, headers: Mapping[str, str], cut: _Cut) -> int:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = http.client.HTTPConnection(parts.hostname or "", port, timeout=READ_SECONDS)
    sock = socket.create_connection((parts.hostname or "", port), timeout=READ_SECONDS)
    try:
        cut.sock = sock
        if parts.scheme == "https":
            context = ssl.create_default_context()
            tls = context.wrap_socket(sock, server_hostname=parts.hostname, do_handshake_on_connect=False)
            cut.sock = sock = tls
            tls.do_handshake()
        connection.sock = sock
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, {"User-Agent": USER_AGENT, **_login(parts), **headers})
        answer = connection.getresponse()
        answer.read(READ_BYTES)
        return answer.status
    finally:
        connection.close()
        sock.close()


def _login(parts: SplitResult) -> dict[str, str]:
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _why(error: Exception, cut: _Cut, seconds: float) -> str:
    if cut.was:
        return f"no answer within {seconds:g} s"
    if isinstance(error, TimeoutError):
        return f"no answer for {READ_SECONDS:g} s"
    # What http.client raises may quote the line that was sent, and the address in it.
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__
