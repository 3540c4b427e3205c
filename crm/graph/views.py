"""GraphQL over HTTP: POST of one JSON document; the page to try it out only in DEBUG."""

import json
import re
from typing import Any

from cross_web import HTTPException
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt, csrf_protect, ensure_csrf_cookie
from strawberry import Schema
from strawberry.django.views import GraphQLView
from strawberry.types import ExecutionResult

from crm.graph.errors import masked, without_suggestions
from crm.graph.permissions import identify, may_introspect, token_of
from crm.tokens import InvalidToken

MAX_BODY_BYTES = 100_000


def endpoint(schema: Schema) -> Any:
    """Give the view that answers for *schema*.

    A login by cookie keeps Django's CSRF protection; a request without one, or with a service token, which no
    browser adds by itself, has nothing to protect. A token that opens nothing is refused whatever is asked.
    """
    execute = _View.as_view(schema=schema, allow_queries_via_get=False)
    execute_guarded = csrf_protect(execute)
    explore = ensure_csrf_cookie(execute)

    @csrf_exempt
    def view(request: HttpRequest) -> HttpResponseBase:
        if request.method == "GET" and settings.DEBUG:
            return explore(request)
        if refusal := _refusal(request):
            return refusal
        try:
            identify(request)
        except InvalidToken as error:
            return _refuse(401, str(error), "UNAUTHENTICATED", headers={"WWW-Authenticate": 'Bearer realm="crm"'})
        has_login = settings.SESSION_COOKIE_NAME in request.COOKIES and token_of(request) is None
        return execute_guarded(request) if has_login else execute(request)

    return view


class _View(GraphQLView):
    def parse_http_body(self, request: Any) -> Any:
        try:
            return super().parse_http_body(request)
        except UnicodeDecodeError as error:
            raise HTTPException(400, "The body is no UTF-8. Send JSON in UTF-8.") from error

    def decode_json(self, data: str | bytes) -> object:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, "The body is no JSON.") from error
        if not isinstance(document, dict):
            raise HTTPException(400, 'The body is no JSON object. Expected {"query": "…", "variables": {…}}.')
        return document

    def execute_single(self, request: HttpRequest, *args: Any, **kwargs: Any) -> ExecutionResult:
        result = super().execute_single(request, *args, **kwargs)
        # Here and not in an extension of the schema: those do not see what the parser or another one raises.
        errors = [masked(error) for error in result.errors or ()]
        if not (settings.DEBUG or may_introspect(request)):
            errors = [without_suggestions(error) for error in errors]
        result.errors = errors or None
        return result


def _refusal(request: HttpRequest) -> HttpResponse | None:
    if request.method != "POST":
        return _refuse(405, "GraphQL is asked by POST.", headers={"Allow": "POST"})
    if request.content_type != "application/json":
        # Compared whole: a page of another site may send "text/plain; application/json" without asking.
        return _refuse(415, f"The body is {request.content_type!r}. Send application/json.")
    length = request.headers.get("Content-Length", "")
    # What int() takes and no more: a superscript two is a digit, and 5,000 digits are no number to it.
    if not re.fullmatch("[0-9]{1,12}", length):
        return _refuse(411, "The request does not say how long its body is. Send Content-Length.")
    if int(length) > MAX_BODY_BYTES:
        return _refuse(413, f"The body has {length} bytes; at most {MAX_BODY_BYTES}. Ask in parts.")
    return None


def _refuse(status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> HttpResponse:
    error = {"message": message, "extensions": {"code": code}} if code else {"message": message}
    return JsonResponse({"errors": [error]}, status=status, headers=headers)
