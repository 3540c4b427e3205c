"""A limit on bodies, before Django: under ASGI it writes a body to the disk, whole, before a view can refuse it."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

# Django itself refuses forms above this.
MOST_BYTES = 2_500_000
# The one page that takes files, and what it takes, with what a form adds.
UPLOADS = {"/admin/crm/customerimport/add/": 20_100_000}

Application = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI's: scope, receive, send


def limited(application: Application, most_bytes: int = MOST_BYTES) -> Application:
    """Give *application* as one that gets no request with a body above *most_bytes*, or without a length.

    The paths of UPLOADS have a limit of their own.
    """

    async def limit(scope: Any, receive: Any, send: Any) -> None:
        most = UPLOADS.get(scope.get("path", ""), most_bytes)
        refusal = _refusal(dict(scope["headers"]), most) if scope["type"] == "http" else None
        if refusal is None:
            await application(scope, receive, send)
            return
        status, text = refusal
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    return limit


def _refusal(headers: dict[bytes, bytes], most_bytes: int) -> tuple[int, str] | None:
    if b"transfer-encoding" in headers:
        return 411, "The request does not say how long its body is. Send Content-Length.\n"
    length = headers.get(b"content-length", b"0")
    if not re.fullmatch(rb"[0-9]{1,12}", length) or int(length) > most_bytes:
        return 413, f"The body is longer than {most_bytes} bytes. Ask in parts.\n"
    return None
