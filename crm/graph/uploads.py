"""A file for importCustomers, by one POST: it is kept and checked, and nothing of it is imported yet.

Not in the mutation: the body of a GraphQL request stays small, and JSON. Sent twice it is kept twice, and begun once,
by the mutation, which takes an Idempotency-Key.
"""

import re
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO

from django.http import HttpRequest, JsonResponse, UnreadablePostError
from django.utils import timezone
from strawberry.relay.utils import to_base64

from crm.graph.errors import ClientError
from crm.graph.permissions import identify, name_of, permit, token_of
from crm.imports import running
from crm.imports.files import NotCsv
from crm.imports.models import CustomerImport
from crm.problems import is_text
from crm.tokens import InvalidToken

MOST_WAITING = 10
_PIECE_BYTES = 65_536


def upload(request: HttpRequest) -> JsonResponse:
    """Keep the body, a CSV file, and give its id; or say why not.

    Cost: the file is on the disk while it comes: a slow sender holds no transaction.
    """
    if refusal := _refusal(request):
        return refusal
    by = name_of(request)
    waiting = CustomerImport.objects.filter(started_by=by, state=CustomerImport.State.WAITING)
    if waiting.count() >= MOST_WAITING:
        return _refuse(409, f"{MOST_WAITING} files of this token wait to be imported. Begin one, or cancel it.")
    with TemporaryFile() as file:
        try:
            received = _received(request, file)
        except UnreadablePostError:
            received = -1
        # Else what came before the connection broke would be taken for the whole.
        if received != int(request.headers["Content-Length"]):
            return _refuse(400, "The body ended before the length that was promised. Send it again.")
        try:
            row = running.keep(_pieces(file), request.GET.get("name") or "upload.csv", by=by, now=timezone.now())
        except NotCsv as error:
            return _refuse(400, str(error))
    kept = {
        "id": to_base64("CustomerImport", row.pk),
        "name": row.name,
        "rows": row.rows_total,
        "bytes": row.size_bytes,
    }
    return JsonResponse(kept, status=201)


def _refusal(request: HttpRequest) -> JsonResponse | None:
    if request.method != "POST":
        return _refuse(405, "A file is sent by POST.", Allow="POST")
    challenge = {"WWW-Authenticate": 'Bearer realm="crm"'}
    try:
        identify(request)
        if token_of(request) is None:
            return _refuse(401, "Show a service token with the scope imports:write; staff has the admin.", **challenge)
        permit(request, "imports:write")
    except InvalidToken as error:
        return _refuse(401, str(error), **challenge)
    except ClientError as error:
        return _refuse(403, error.message)
    if request.content_type != "text/csv" or (request.content_params or {}).get("charset", "utf-8").lower() != "utf-8":
        return _refuse(415, f"The body is {request.headers.get('Content-Type', '')[:100]!r}. Send text/csv in UTF-8.")
    if not re.fullmatch("[0-9]{1,12}", length := request.headers.get("Content-Length", "")):
        return _refuse(411, "The request does not say how long its body is. Send Content-Length.")
    if int(length) > running.MOST_BYTES:
        return _refuse(413, f"The body has {length} bytes; at most {running.MOST_BYTES}. Import it in parts.")
    if not is_text(name := request.GET.get("name", "")) or len(name) > 200:
        return _refuse(400, "The name is none: expected up to 200 characters, without NUL.")
    return None


def _received(request: HttpRequest, file: IO[bytes]) -> int:
    while piece := request.read(_PIECE_BYTES):
        file.write(piece)
    return file.tell()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        yield piece


def _refuse(status: int, message: str, **headers: str) -> JsonResponse:
    return JsonResponse({"error": message}, status=status, headers=headers)
