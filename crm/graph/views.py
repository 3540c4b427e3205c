"""GraphQL over HTTP, as its specification has it: POST of one JSON document; the page to try it out only in DEBUG.

Ours are the media types and the status codes, and what is refused before anything is parsed; strawberry's view reads
the parameters and calls the schema.
"""

import json
import re
from functools import partial
from typing import Any

from cross_web import HTTPException
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt, csrf_protect, ensure_csrf_cookie
from strawberry import Schema
from strawberry.django.views import GraphQLView
from strawberry.http import GraphQLHTTPResponse
from strawberry.types import ExecutionResult

from crm.graph import trusted
from crm.graph.budget import PAID
from crm.graph.errors import UNAVAILABLE, first
from crm.graph.limits import KNOWN, STRANGER, budget_of
from crm.graph.media import GRAPHQL, JSON, STREAM, negotiate, wants_stream
from crm.graph.permissions import identify, identify_again, token_of, who
from crm.graph.time_limit import as_client_errors, statements_limited
from crm.tokens import InvalidToken
from crons.contrib.graphql.schema import WATCHED, Answer, Watchers, streamed

WATCHERS = Watchers()
_NAME = re.compile("[A-Za-z0-9_]{0,100}")  # strawberry writes it into its answer as it came


def endpoint(schema: Schema) -> Any:
    """Give the view that answers for *schema*.

    A login by cookie keeps Django's CSRF protection; a request without one, or with a service token, which no
    browser adds by itself, has nothing to protect. A token that opens nothing is refused whatever is asked.
    """
    execute = _View.as_view(schema=schema, allow_queries_via_get=False)
    execute_guarded = csrf_protect(execute)
    stream = _StreamView.as_view(schema=schema, allow_queries_via_get=False)
    stream_guarded = csrf_protect(stream)
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
            challenge = {"WWW-Authenticate": 'Bearer realm="crm"'}
            return _refuse(request, 401, str(error), "UNAUTHENTICATED", challenge)
        if refusal := _refuse_length(request, budget_of(request).body_bytes):
            return refusal
        has_login = settings.SESSION_COOKIE_NAME in request.COOKIES and token_of(request) is None
        if wants_stream(request.headers.get("Accept")):
            return (stream_guarded if has_login else stream)(request)
        return execute_guarded(request) if has_login else execute(request)

    return view


class _View(GraphQLView):
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return self.run(request=request)
        except _UnknownDocument as error:
            # Well asked for, and not to be run: told as a document that is wrong.
            is_plain = _kind(request) == JSON and not wants_stream(request.headers.get("Accept"))
            status = 200 if is_plain else error.status_code
            return _refuse(request, status, error.reason, "UNKNOWN_DOCUMENT")
        except _Untrusted as error:
            return _refuse(request, error.status_code, error.reason, "FORBIDDEN")
        except HTTPException as error:
            return _refuse(request, error.status_code, error.reason, "BAD_USER_INPUT")

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
        if (given := document.pop("documentId", None)) is not None:
            document["query"] = _trusted_text(given, document)
        elif (token := token_of(self.request)) is not None and token.trusted_only:
            _check_trusted(token.prefix, document.get("query"))
        name = document.get("operationName")
        if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise HTTPException(400, "operationName is no name of an operation, of 100 letters at most.")
        return document

    def execute_single(
        self, request: HttpRequest, request_adapter: Any, sub_response: Any, *args: Any, **kwargs: Any
    ) -> ExecutionResult:
        with statements_limited():
            result = super().execute_single(request, request_adapter, sub_response, *args, **kwargs)
        # Here and not in an extension of the schema: those do not see what the parser or another one raises.
        # Whoever may ask may know of each of the many things asked for which one failed.
        budget = budget_of(request)
        result.errors = first(
            as_client_errors(result.errors or []), budget.errors if budget is STRANGER else budget.fields
        )
        sub_response["Content-Type"] = kind = _kind(request)
        sub_response["Vary"] = "Accept"
        wait = [(error.extensions or {}).get("retryAfter") for error in result.errors or ()]
        if wait and wait[0]:
            sub_response.status_code = 429
            sub_response["Retry-After"] = str(wait[0])
        elif kind == GRAPHQL and not _has_run(result):
            is_ours = any((error.extensions or {}).get("code") == "INTERNAL" for error in result.errors or ())
            sub_response.status_code = 500 if is_ours else 400
        return result

    def process_result(self, request: HttpRequest, result: ExecutionResult) -> GraphQLHTTPResponse:
        answer = super().process_result(request, result)
        if not _has_run(result):
            # `"data": null` would say that the operation ran and ended in nothing.
            del answer["data"]
        return answer


class _UnknownDocument(HTTPException):
    pass


class _Untrusted(HTTPException):
    pass


def _check_trusted(prefix: str, text: object) -> None:
    if isinstance(text, str) and trusted.by_id(trusted.id_of(text)) is None:
        raise _Untrusted(403, f"The service token {prefix} may ask trusted documents only, and this is none of them.")


def _trusted_text(given: object, document: dict[str, Any]) -> str:
    if document.get("query") is not None:
        raise HTTPException(400, "The request has a query and a documentId. Send one of them.")
    if not isinstance(given, str) or not trusted.FORM.fullmatch(given):
        raise HTTPException(400, "documentId is none. Expected sha256: and 64 lower-case hexadecimal digits.")
    found = trusted.by_id(given)
    if found is None:
        raise _UnknownDocument(400, "No trusted document has this id. Was it changed, or is it of another release?")
    return found.text


class _StreamView(_View):
    """The same for who takes server-sent events: a subscription is answered anew whenever it has another answer."""

    def run(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not isinstance(request, ASGIRequest):
            return _refuse(request, 501, "Nothing is streamed by this server, which speaks WSGI. Run crm.asgi instead.")
        if refusal := WATCHERS.lacks_room(who(request)):
            return _refuse(request, 503, refusal, UNAVAILABLE, {"Retry-After": "30"})
        return super().run(request, *args, **kwargs)

    def execute_single(self, *args: Any, **kwargs: Any) -> ExecutionResult:
        self.again = partial(super().execute_single, *args, **kwargs)
        result = self.again()
        setattr(self.request, PAID, True)
        return result

    def process_result(self, request: HttpRequest, result: ExecutionResult) -> GraphQLHTTPResponse:
        answer = super().process_result(request, result)
        # What is left of a budget is another at each answer, and would have it told anew.
        answer.pop("extensions", None)
        return answer

    def create_response(self, response_data: Any, sub_response: HttpResponse) -> HttpResponseBase:
        if "data" not in response_data:
            sub_response.status_code = sub_response.status_code or 400
            return super().create_response(response_data, sub_response)
        return streamed(self._answer(response_data), self._ask_again, WATCHERS, who(self.request))

    def _ask_again(self) -> Answer:
        setattr(self.request, WATCHED, None)
        try:
            identify_again(self.request)
        except InvalidToken as error:
            return self._answer({"errors": [{"message": str(error), "extensions": {"code": "UNAUTHENTICATED"}}]})
        return self._answer(self.process_result(self.request, self.again()))

    def _answer(self, data: Any) -> Answer:
        text = self.encode_json(data)
        return Answer(text if isinstance(text, str) else text.decode(), getattr(self.request, WATCHED, None))


def _has_run(result: ExecutionResult) -> bool:
    """Say whether the operation began: an error of it has the path of its field, one found before has none."""
    return result.data is not None or any(error.path for error in result.errors or ())


def _kind(request: HttpRequest) -> str:
    return negotiate(request.headers.get("Accept")) or JSON


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _refusal(request: HttpRequest) -> HttpResponse | None:
    if request.method != "POST":
        return _refuse(request, 405, "GraphQL is asked by POST.", headers={"Allow": "POST"})
    if negotiate(accept := request.headers.get("Accept")) is None and not wants_stream(accept):
        return _refuse(request, 406, f"Accept is {accept!r:.100}. What there is: {GRAPHQL}, {JSON}, {STREAM}.")
    if request.content_type != JSON:
        # Compared whole: a page of another site may send "text/plain; application/json" without asking.
        return _refuse(request, 415, f"The body is {request.content_type!r}. Send application/json.")
    charset = (request.content_params or {}).get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8"):
        return _refuse(request, 415, f"The body is in {charset!r:.100}. Send JSON in UTF-8.")
    length = request.headers.get("Content-Length", "")
    # What int() takes and no more: a superscript two is a digit, and 5,000 digits are no number to it.
    if not re.fullmatch("[0-9]{1,12}", length):
        return _refuse(request, 411, "The request does not say how long its body is. Send Content-Length.")
    return _refuse_length(request, KNOWN.body_bytes)


def _refuse_length(request: HttpRequest, most_bytes: int) -> HttpResponse | None:
    length = int(request.headers["Content-Length"])
    if length <= most_bytes:
        return None
    return _refuse(request, 413, f"The body has {length} bytes; at most {most_bytes}. Ask in parts.")


def _refuse(
    request: HttpRequest, status: int, message: str, code: str = "", headers: dict[str, str] | None = None
) -> HttpResponse:
    error = {"message": message, "extensions": {"code": code}} if code else {"message": message}
    return JsonResponse(
        {"errors": [error]}, status=status, content_type=_kind(request), headers={"Vary": "Accept", **(headers or {})}
    )
