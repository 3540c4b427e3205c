"""One POST: to the address that was looked at, within a time whatever the other side does, following nothing."""

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from crm.plain_text import one_line
from crm.webhooks import addresses
from crm.webhooks.addresses import AddressRefused, Target
from crm.webhooks.models import MOST_TEXT

# Of an answer no more is read: of 100 MB neither.
READ_BYTES = 4 * MOST_TEXT
USER_AGENT = "crm-webhooks/1.0"


@dataclass(frozen=True)
class Answer:
    """What came back: a status, or an *error* where there was none."""

    status: int | None = None
    error: str = ""
    text: str = ""
    retry_after: str = ""
    milliseconds: int = 0

    @property
    def is_good(self) -> bool:
        """Whether the receiver has taken it."""
        return self.status is not None and 200 <= self.status < 300

    def __str__(self) -> str:
        return self.error or f"answered {self.status}"


class Line:
    """A connection that another thread may cut: close() alone would not wake who reads from it."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self.is_cut = False

    def use(self, sock: socket.socket) -> None:
        """Have *sock* be what is cut.

        Raises: TimeoutError where that has happened already.
        """
        self._sock = sock
        if self.is_cut:
            raise TimeoutError

    def cut(self) -> None:
        """End the request, wherever it stands."""
        self.is_cut = True
        if self._sock is not None:
            with suppress(OSError):
                # Not the method of a TLS socket, which would talk to the other side first.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


def post(url: str, body: bytes, headers: Mapping[str, str], *, seconds: float, line: Line) -> Answer:
    """Send *body* to *url*; never raises.

    *seconds* bound each step; whoever holds *line* bounds the whole. An error names the host at most.
    """
    began = time.monotonic()
    try:
        target = addresses.parse(url)
        answer = _post(target, body, headers, seconds, line)
    except AddressRefused as error:
        answer = Answer(error=str(error))
    except (OSError, http.client.HTTPException, ValueError) as error:
        answer = Answer(error="no answer in time" if line.is_cut else _why(error))
    milliseconds = int((time.monotonic() - began) * 1000)
    return Answer(answer.status, answer.error[:200], answer.text, answer.retry_after, milliseconds)


def _post(target: Target, body: bytes, headers: Mapping[str, str], seconds: float, line: Line) -> Answer:
    sock = _connect(target, seconds, line)
    try:
        if target.is_tls:
            context = ssl.create_default_context()
            # By the name, not the address: it is the name's certificate that counts.
            sock = context.wrap_socket(sock, server_hostname=target.host, do_handshake_on_connect=False)
            line.use(sock)
            sock.do_handshake()
        connection = http.client.HTTPConnection(target.host, target.port, timeout=seconds)
        connection.sock = sock
        said = {"Host": target.authority, "User-Agent": USER_AGENT, "Content-Type": "application/json", **headers}
        connection.request("POST", target.path, body, said)
        response = connection.getresponse()
        if line.is_cut:  # in the middle of headers, which http.client takes for their end
            raise TimeoutError
        text = ""
        # The status is there: what becomes of the rest changes nothing.
        with suppress(OSError, http.client.HTTPException):
            text = one_line(response.read(READ_BYTES).decode(errors="replace"))[:MOST_TEXT]
        error = "redirects are not followed" if 300 <= response.status < 400 else ""
        if error:
            error = f"answered {response.status}: {error}"
        return Answer(response.status, error, text, (response.getheader("Retry-After") or "")[:100])
    finally:
        sock.close()


def _connect(target: Target, seconds: float, line: Line) -> socket.socket:
    """Connect to the first of the target's addresses that takes it: asked for once, looked at, used as they are."""
    failed: OSError | None = None
    for address in addresses.resolve(target):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            line.use(sock)
            sock.connect((address, target.port))
        except OSError as error:
            sock.close()
            if line.is_cut:
                raise
            failed = error
        else:
            return sock
    raise failed or OSError("the name stands for no address")


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    # What http.client raises may quote what was sent, and the address in it.
    return f"no HTTP: {type(error).__name__}"
