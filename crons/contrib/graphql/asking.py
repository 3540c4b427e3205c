"""Who asks, and what is answered to who may not: the permissions of the pages, for people and for programs.

Who asks is `request.user`; a project whose programs show tokens sets `request.crons_operator` to what has the methods
of a user that are asked here: `is_authenticated`, `is_active`, `is_staff`, `is_superuser`, `has_perm()` and
`get_username()`; `describe_lack()`, if it has that, says what it lacks. CRONS["RIGHTS"] is given it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from django.contrib.auth.models import AnonymousUser
from graphql import GraphQLError
from strawberry import Info

from crons.conf import conf
from crons.models import Entry, Run, is_text
from crons.presentation import readable_line
from crons.web import rights

OPERATOR = "crons_operator"
VIEW_RUN = "crons.view_run"
# What everybody needs who asks anything, as for the pages.
NEEDED = (rights.VIEW, VIEW_RUN)
_LARGEST_ID = 2**63 - 1


class Refusal(GraphQLError):
    """What a client is told as it is, with `extensions.code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, extensions={"code": code})


def require(info: Info[Any, Any], *permissions: str) -> Any:
    """Return who asks, where they may do what all pages need and *permissions* are for, to any entry at all.

    Raises: Refusal UNAUTHENTICATED or FORBIDDEN.
    """
    operator = _operator(info)
    if not operator.is_authenticated:
        raise Refusal("UNAUTHENTICATED", "This is for staff. Log in, or show a token.")
    if not (operator.is_active and operator.is_staff):
        raise Refusal("FORBIDDEN", "This is for staff: your account is none.")
    if missing := _lacks(operator, [*NEEDED, *permissions]):
        raise Refusal("FORBIDDEN", missing)
    return operator


def allow(operator: Any, permission: str, entry: Entry) -> None:
    """Let pass who may do to *entry* what *permission* is for.

    Raises: Refusal FORBIDDEN.
    """
    if missing := lacks(operator, permission, entry):
        raise Refusal("FORBIDDEN", missing)


def lacks(operator: Any, permission: str, entry: Entry) -> str:
    """Say in a sentence why *operator* may not do to *entry* what *permission* is for; empty where they may."""
    return _lacks(operator, [permission]) or rights.lacks(operator, permission, entry)


def name_of(operator: Any) -> str:
    """Say who it was, for the audit trail: by its name and by the way that it came."""
    return f"{operator.get_username()[:130]} (graphql)"


def key_of(operator: Any, key: str) -> str:
    """Return *key* as a run has it: nobody's is another's, however long or alike their names are."""
    return f"graphql:{sha256(operator.get_username().encode()).hexdigest()[:32]}:{key}"


def entry_named(operator: Any, name: str) -> Entry | None:
    """Return the entry *name*, where *operator* may see it."""
    rows = rights.visible(operator, Entry.objects.using(conf.database))
    return rows.filter(name=name).first() if is_text(name) else None


def run_numbered(operator: Any, given: str) -> Run | None:
    """Return the run of the number *given*, with its entry, where *operator* may see it."""
    number = number_of(given)
    rows = rights.visible(operator, Run.objects.using(conf.database).select_related("entry"), VIEW_RUN)
    return None if number is None else rows.filter(pk=number).first()


def number_of(given: str) -> int | None:
    """Read the number of a row; None where it is none."""
    is_number = given.isascii() and given.isdecimal() and len(given) < 20
    return int(given) if is_number and int(given) <= _LARGEST_ID else None


def no_entry(name: str) -> str:
    """Say that there is no such entry, without naming what is near: that may be somebody else's."""
    return f"{readable_line(name)[:60]!r} is no job that you may see."


def _lacks(operator: Any, permissions: Sequence[str]) -> str:
    describe = getattr(operator, "describe_lack", None)
    lacking = [each for each in permissions if not operator.has_perm(each)] if describe else []
    # A program's token has no permissions that its owner could be given: it says what it has instead.
    return str(describe(lacking)) if describe and lacking else rights.lacks_any(operator, permissions)


def _operator(info: Info[Any, Any]) -> Any:
    context: Any = info.context
    request = context.get("request") if isinstance(context, dict) else getattr(context, "request", None)
    return getattr(request, OPERATOR, None) or getattr(request, "user", None) or AnonymousUser()
