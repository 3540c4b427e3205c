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

from crm.graph.errors import ClientError, first
from crm.graph.limits import KNOWN, STRANGER, budget_of
from crm.graph.permissions import identify, token_of
from crm.graph.time_limit import as_client_errors, statements_limited
from crm.tokens import InvalidToken

_NAME = re.compile("[A-Za-z0-9_]{0,100}")  # strawberry writes it into its answer as it came


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
        if refusal := _refuse_length(request, budget_of(request).body_bytes):
            return refusal
        has_login = settings.SESSION_COOKIE_NAME in request.COOKIES and token_of(request) is None
        try:
            return execute_guarded(request) if has_login else execute(request)
        except ClientError as error:
            return JsonResponse({"data": None, "errors": [error.formatted]})

    return view


class _View(GraphQLView):
    def parse_http_body(self, request: Any) -> Any:
        try:
            return super().parse_http_body(request)
        except UnicodeDecodeError as error:
            raise HTTPException(400, "The body is no UTF-8. Send JSON in UTF-8.") from error

    def decode_json(self, data: str | bytes) -> object:
        try:
            document = json.loads(data, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, "The body is no JSON.") from error
        if not isinstance(document, dict):
            raise HTTPException(400, 'The body is no JSON object. Expected {"query": "…", "variables": {…}}.')
        name = document.get("operationName")
        if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ClientError("BAD_USER_INPUT", "operationName is no name of an operation, of 100 letters at most.")
        return document

    def execute_single(self, request: HttpRequest, *args: Any, **kwargs: Any) -> ExecutionResult:
        with statements_limited():
            result = super().execute_single(request, *args, **kwargs)
        # Here and not in an extension of the schema: those do not see what the parser or another one raises.
        # Whoever may ask may know of each of the many things asked for which one failed.
        budget = budget_of(request)
        result.errors = first(
            as_client_errors(result.errors or []), budget.errors if budget is STRANGER else budget.fields
        )
        return result


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


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
    return _refuse_length(request, KNOWN.body_bytes)


def _refuse_length(request: HttpRequest, most_bytes: int) -> HttpResponse | None:
    length = int(request.headers["Content-Length"])
    if length <= most_bytes:
        return None
    return _refuse(413, f"The body has {length} bytes; at most {most_bytes}. Ask in parts.")


def _refuse(status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> HttpResponse:
    error = {"message": message, "extensions": {"code": code}} if code else {"message": message}
    return JsonResponse({"errors": [error]}, status=status, headers=headers)
