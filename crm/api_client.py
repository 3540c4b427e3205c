"""Asking our GraphQL over HTTP, as the jobs do: the whole answer, or one exception that says what came instead.

A job that took half an answer, or a refusal for "no orders", would be green and have done nothing.
"""

import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import urllib3
from django.conf import settings
from gql import GraphQLRequest
from gql.transport.exceptions import TransportError

from crm.api_transport import Answer, Transport, within
from crm.graph.trusted import Trusted
from crons import GiveUp

DEFAULT_URL = "http://127.0.0.1:8000/graphql"
MAX_ANSWER_BYTES = 5_000_000
_MAX_TOKEN_BYTES = 1_000
_LONGEST_WAIT_SECONDS = 90
_MOST_WAITS = 5
_SHOWN = 200
_TOKEN = re.compile(r"[\x21-\x7e]+")
_HINTS = {
    "UNAUTHENTICATED": " Give the jobs a token that is valid: manage.py service_token jobs",
    "UNKNOWN_DOCUMENT": " Its documents are of another release than these jobs: have both run the same.",
    "FORBIDDEN": " Give the jobs a token with that scope: manage.py service_token jobs",
}


class ApiFailed(Exception):
    """GraphQL did not give the whole answer: nothing of it may be used."""


class ApiRefused(ApiFailed, GiveUp):
    """The token opens nothing, or not this: a person has to look, and the next tries would be refused as well."""


@dataclass(frozen=True)
class ApiClient:
    """GraphQL at *url*, asked with *token*; each answer must have come whole within *timeout_seconds*."""

    url: str = DEFAULT_URL
    token: str = field(default="", repr=False)
    timeout_seconds: float = 30
    max_bytes: int = MAX_ANSWER_BYTES

    @classmethod
    def of_jobs(cls) -> "ApiClient":
        """Give the client of CRM_GRAPHQL_URL and CRM_GRAPHQL_TIMEOUT, with the jobs' token.

        Raises: ApiFailed where there is no token.
        """
        return cls(settings.CRM_GRAPHQL_URL or DEFAULT_URL, jobs_token(), settings.CRM_GRAPHQL_TIMEOUT)

    def ask(self, document: str | Trusted, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Give the data that answers *document*, which is sent once: a mutation is never repeated here.

        Of a trusted document only the id is sent. Where the budget is spent (429), it is asked again after the wait
        that the answer names.

        Raises: ApiFailed for anything but the whole answer.
        """
        given = dict(variables or {})
        if isinstance(document, Trusted):
            request: GraphQLRequest = _ById(document.id, document.text, variable_values=given)
        else:
            request = GraphQLRequest(document, variable_values=given)
        waits = _MOST_WAITS
        while True:
            answer = Answer(self.max_bytes)
            try:
                return within(self.timeout_seconds, lambda: self._data(request, answer))  # noqa: B023 (called at once)
            except ApiFailed as error:
                failed = error
            except (TransportError, TimeoutError) as error:
                message = self._too_slow() if _is_timeout(error) else self._what_came(error, answer)
                failed = ApiFailed(self._masked(message))
            # Nothing was begun: the budget of this minute is spent, by this program or by another with its token.
            if not (waits and 0 < answer.wait_seconds <= _LONGEST_WAIT_SECONDS):
                raise failed  # here: what the library raised would be shown with it
            waits -= 1
            time.sleep(answer.wait_seconds)

    def pages(
        self, document: str | Trusted, connection: str, variables: Mapping[str, Any] | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Give the rows of each page of *connection* in turn; *document* takes $after and asks for pageInfo.

        Raises: ApiFailed, saying at which page and after how many rows.
        """
        after: str | None = None
        seen: set[str] = set()
        count = 0
        while True:
            try:
                rows, after = self._page(document, connection, {**(variables or {}), "after": after}, seen)
            except ApiFailed as error:
                raise type(error)(f"{connection}, page {len(seen) + 1} (after {count} rows): {error}") from error
            yield rows
            count += len(rows)
            if after is None:
                return
            seen.add(after)

    def _page(
        self, document: str | Trusted, connection: str, variables: Mapping[str, Any], seen: set[str]
    ) -> tuple[list[dict[str, Any]], str | None]:
        data = self.ask(document, variables)
        try:
            rows = [dict(edge["node"]) for edge in data[connection]["edges"]]
            info = data[connection]["pageInfo"]
            follows, cursor = info["hasNextPage"], info["endCursor"]
        except (KeyError, TypeError, ValueError):
            raise ApiFailed(self._masked(f"{self.url} gave no page but {_shown(json.dumps(data))}")) from None
        if not follows:
            return rows, None
        if not rows or not isinstance(cursor, str) or not cursor or cursor in seen:
            raise ApiFailed(
                f"{self.url} says that more rows follow, but its cursor {cursor!r} does not lead on to them."
            )
        return rows, cursor

    def _data(self, request: GraphQLRequest, answer: Answer) -> dict[str, Any]:
        transport = Transport(self.url, self.token, self.timeout_seconds, answer)
        # The transport alone: gql's client would look at a schema, and read an answer without data as a bug of its own.
        transport.connect()
        try:
            result = transport.execute(request)
        finally:
            transport.close()  # type: ignore[no-untyped-call]
        if result.errors is not None:
            failed = ApiRefused if _codes(result.errors) & _HINTS.keys() else ApiFailed
            raise failed(self._masked(_errors(self.url, result.errors)))
        if answer.status != 200 or not isinstance(result.data, dict):
            raise ApiFailed(self._masked(f"{self.url} answered {_seen(answer)}. Expected HTTP 200 with data."))
        return result.data

    def _too_slow(self) -> str:
        return (
            f"{self.url} gave no whole answer within {self.timeout_seconds:g} s (CRM_GRAPHQL_TIMEOUT). "
            "What it was asked to change, it may have changed. Is the site overloaded, or stuck?"
        )

    def _what_came(self, error: BaseException, answer: Answer) -> str:
        if not answer.status:
            return f"{self.url} did not answer: {_reason(error)}. Is the site up, and is that CRM_GRAPHQL_URL?"
        if answer.location:
            return (
                f"{self.url} answered HTTP {answer.status} and leads to {_shown(answer.location)}, which is not "
                "followed with a token. Set CRM_GRAPHQL_URL to the address that answers itself."
            )
        if not answer.is_whole:
            return f"{self.url} answered HTTP {answer.status}, which cannot be read: {_reason(error)}."
        hint = " Is its name among CRM_ALLOWED_HOSTS?" if answer.status == 400 else ""
        return f"{self.url} answered {_seen(answer)}. Expected GraphQL's JSON: is that CRM_GRAPHQL_URL?{hint}"

    def _masked(self, text: str) -> str:
        return text.replace(self.token, "********") if self.token else text


class _ById(GraphQLRequest):
    """A request that names its document by its id."""

    def __init__(self, document_id: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._document_id = document_id

    @property
    def payload(self) -> dict[str, Any]:
        """What is sent."""
        payload = dict(super().payload)
        del payload["query"]
        return {"documentId": self._document_id, **payload}


def jobs_token() -> str:
    """Give the token of the jobs: CRM_TOKEN, else the one line of the file CRM_TOKEN_FILE.

    Raises: ApiFailed where it is missing, or others may read it; the message never shows it.
    """
    if given := os.environ.get("CRM_TOKEN", "").strip():
        return _checked(given, "CRM_TOKEN")
    path = Path(settings.CRM_TOKEN_FILE)
    try:
        # Not through a symlink, which leads to another's file; without waiting at a named pipe.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        reason = "it is a symlink" if path.is_symlink() else error.strerror
        raise ApiFailed(
            f"The jobs have no token: CRM_TOKEN is not set, and CRM_TOKEN_FILE, {path}, cannot be read: {reason}. "
            "Expected a plain file of mode 0600 with one token: manage.py service_token jobs makes it."
        ) from error
    try:
        mode = os.fstat(file).st_mode
        if not stat.S_ISREG(mode):
            raise ApiFailed(f"{path} is no plain file. Put a file of mode 0600 there, with the jobs' token.")
        if mode & 0o077:
            raise ApiFailed(
                f"{path} has mode {stat.S_IMODE(mode):04o}: others can read the jobs' token. Run: chmod 600 {path}; "
                "and where others had access, manage.py service_token rotate"
            )
        content = os.read(file, _MAX_TOKEN_BYTES + 1).decode("ascii", "replace")
    finally:
        os.close(file)
    return _checked(content.removesuffix("\n").removesuffix("\r"), str(path))


def _checked(token: str, source: str) -> str:
    if _TOKEN.fullmatch(token) and len(token) <= _MAX_TOKEN_BYTES:
        return token
    what = "holds more than one token, or what is none" if token.strip() else "is empty"
    raise ApiFailed(f"{source} {what}. Expected the one line that manage.py service_token issue printed.")


def _is_timeout(error: BaseException) -> bool:
    late = (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError)
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, late)


def _reason(error: BaseException) -> str:
    """Give the innermost reason: those around it repeat it, with the addresses of objects."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return _shown(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _codes(errors: Any) -> set[str]:
    return {_code(each) for each in (errors if isinstance(errors, list) else [errors])}


def _code(error: Any) -> str:
    extensions = error.get("extensions") if isinstance(error, dict) else None
    return str(extensions.get("code") or "") if isinstance(extensions, dict) else ""


def _errors(url: str, errors: Any) -> str:
    messages, hints = [], {}
    for each in errors if isinstance(errors, list) else [errors]:
        found = each if isinstance(each, dict) else {"message": each}
        code = _code(each)
        messages.append(_shown(str(found.get("message"))) + (f" ({code})" if code else ""))
        hints[_HINTS.get(code, "")] = True
    return f"{url} answered with errors: {'; '.join(messages[:3]) or 'an empty list of them'}{''.join(hints)}"


def _seen(answer: Answer) -> str:
    return f"HTTP {answer.status}, {answer.kind}: {_shown(answer.text) or 'nothing'}"


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
