"""A limit on bodies, before Django: under ASGI it writes a body to the disk, whole, before a view can refuse it."""

import re
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.db import close_old_connections
from django.http import HttpRequest, parse_cookie

# Django itself refuses forms above this.
MOST_BYTES = 2_500_000
# The paths that take files: what they take, with what a form adds; and who may send one, to each by another way.
FORM = "/admin/crm/customerimport/add/"
UPLOAD = "/imports"
UPLOADS = {FORM: 20_100_000, UPLOAD: 20_000_000}
PERMISSIONS = ("crm.add_customerimport", "crm.add_customer")
SCOPE = "imports:write"

Application = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI's: scope, receive, send


def limited(application: Application, most_bytes: int = MOST_BYTES) -> Application:
    """Give *application* as one that gets no request with a body above *most_bytes*, or without a length.

    The paths of UPLOADS have a limit of their own, for who is logged in, or shows a token, and may send files.
    """

    async def limit(scope: Any, receive: Any, send: Any) -> None:
        refusal = None
        if scope["type"] == "http":
            headers, path = dict(scope["headers"]), scope.get("path", "")
            most = UPLOADS.get(path)
            refusal = _refusal(headers, most or most_bytes)
            if most and not refusal and _refusal(headers, most_bytes) and not await _may_upload(path, headers):
                refusal = 403, "Log in as somebody who may import customers, and send the file again.\n"
                if path == UPLOAD:
                    refusal = 403, f"Show a service token with the scope {SCOPE}, and send the file again.\n"
        if refusal is None:
            await application(scope, receive, send)
            return
        status, text = refusal
        said = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": said})
        await send({"type": "http.response.body", "body": text.encode()})

    return limit


def _refusal(headers: dict[bytes, bytes], most_bytes: int) -> tuple[int, str] | None:
    if b"transfer-encoding" in headers:
        return 411, "The request does not say how long its body is. Send Content-Length.\n"
    length = headers.get(b"content-length", b"0")
    if not re.fullmatch(rb"[0-9]{1,12}", length) or int(length) > most_bytes:
        return 413, f"The body is longer than {most_bytes} bytes. Ask in parts.\n"
    return None


async def _may_upload(path: str, headers: dict[bytes, bytes]) -> bool:
    if path == UPLOAD:
        scheme, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        return scheme.lower() == "bearer" and await sync_to_async(_is_token_that_may)(text.strip(" "))
    cookies = parse_cookie(headers.get(b"cookie", b"").decode("latin-1"))
    key = cookies.get(settings.SESSION_COOKIE_NAME)
    return bool(key and await sync_to_async(_is_session_of_one_who_may)(key))


def _is_token_that_may(text: str) -> bool:
    tokens = import_module("crm.tokens")  # it has models, which are not there yet when this module is imported
    try:
        return SCOPE in tokens.authenticate(text).scopes
    except tokens.InvalidToken:
        return False
    finally:
        close_old_connections()


def _is_session_of_one_who_may(session_key: str) -> bool:
    """Judge the session as Django does before each page."""
    request = HttpRequest()
    try:
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
        user = get_user(request)
        return user.is_active and user.is_staff and user.has_perms(PERMISSIONS)
    finally:
        close_old_connections()  # before and after a request Django does that; this comes before one
