"""Who may see and do what. A refusal is an error, never an empty list: a job with a revoked token must fail.

A request shows a service token or comes with a staff login; one that shows a token has no other rights than
the token's, whatever cookies it brings along.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from strawberry import Info

from crm import tokens
from crm.graph.errors import ClientError
from crm.models import ServiceToken
from crons.contrib.graphql.schema import OPERATOR

_TOKEN = "service_token"  # the attribute of a request that identify() sets
# What a staff user needs of Django's permissions; of those in braces the one that the field names.
_PERMISSIONS = {
    "customers:read": ("crm.view_customer",),
    "customers:write": ("crm.{}_customer",),
    "products:read": ("crm.view_product",),
    "products:write": ("crm.{}_product",),
    "orders:read": ("crm.view_order",),
    "orders:write": ("crm.{}_order",),
    "stock:write": ("crm.change_product",),
    "reports:read": ("crm.view_customer", "crm.view_order"),
    "imports:read": ("crm.view_customerimport",),
    "imports:write": ("crm.add_customerimport", "crm.add_customer"),
}
# What a token's scope opens of the operations of crons, by the permissions of its pages.
_OPERATIONS = {
    "crons:read": ("crons.view_entry", "crons.view_run", "crons.view_incident"),
    "crons:output": ("crons.view_attempt",),
    "crons:operate": (
        "crons.run_entry",
        "crons.pause_entry",
        "crons.cancel_run",
        "crons.retry_run",
        "crons.acknowledge_incident",
    ),
}


class _Operator:
    """A token as crons asks who operates it: a member of staff with the permissions of its scopes."""

    is_authenticated = is_active = is_staff = True
    is_superuser = False

    def __init__(self, token: ServiceToken) -> None:
        self._name, self._prefix = f"{token.name} {token.prefix}", token.prefix
        self._permissions = {each for scope in token.scopes for each in _OPERATIONS.get(scope, ())}

    def get_username(self) -> str:
        return self._name

    def has_perm(self, permission: str, obj: object = None) -> bool:
        return permission in self._permissions

    def describe_lack(self, permissions: Sequence[str]) -> str:
        scopes = [scope for scope, opened in _OPERATIONS.items() if set(opened).intersection(permissions)]
        # CRONS["RIGHTS"] may ask for a permission that no scope opens.
        lacking = " and ".join(scopes) or f"for {', '.join(permissions)}"
        return f"The service token {self._prefix} has no scope {lacking}."


def identify(request: HttpRequest) -> None:
    """Note the service token that *request* shows, if it has an Authorization header at all.

    Raises: InvalidToken for a header of any other form or a token that opens nothing: a request that meant
    to be a program's is never taken for its user's.
    """
    header = request.headers.get("Authorization")
    if header is None:
        return
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer":
        raise tokens.InvalidToken("The Authorization header is of no known form. Expected: Bearer crm_…")
    token = tokens.authenticate(text.strip(" "))
    setattr(request, _TOKEN, token)
    setattr(request, OPERATOR, _Operator(token))


def identify_again(request: HttpRequest) -> None:
    """Have *request* be who it was, with the rights of now: a token may have been revoked, a user logged out.

    Raises: InvalidToken.
    """
    if token_of(request) is not None:
        identify(request)
    else:
        request.session = type(request.session)(request.session.session_key)
        request.user = get_user(request)


def token_of(request: HttpRequest | None) -> ServiceToken | None:
    """Give the token that identify() noted."""
    return getattr(request, _TOKEN, None)


def who(request: HttpRequest | None) -> str:
    """Name who asks, the same at each request: a token or a user; empty for a stranger."""
    token, user = token_of(request), _user_of(request)
    return f"token {token.prefix}" if token is not None else f"user {user.pk}" if user.is_authenticated else ""


def name_of(request: HttpRequest | None) -> str:
    """Say to people who asks, as what crons keeps of who asked for a run does."""
    operator: Any = getattr(request, OPERATOR, None) or _user_of(request)
    return f"{operator.get_username()[:130]} (graphql)"


def may_introspect(request: HttpRequest | None) -> bool:
    """Say whether *request* may read the schema: with any token, or as staff."""
    user = _user_of(request)
    return token_of(request) is not None or (user.is_active and user.is_staff)


def require(info: Info, scope: str, verb: str = "change") -> None:
    """Let whoever may use *scope* (such as "orders:read") pass.

    Args: *verb* is what a staff user must be allowed for a scope that writes: add or change.
    Raises: ClientError UNAUTHENTICATED or FORBIDDEN.
    """
    permit(getattr(info.context, "request", None), scope, verb)


def permit(request: HttpRequest | None, scope: str, verb: str = "change") -> None:
    """Let *request* pass where it may use *scope*; as require, for what is no field.

    Raises: ClientError UNAUTHENTICATED or FORBIDDEN.
    """
    needed = [permission.format(verb) for permission in _PERMISSIONS[scope]]
    token = token_of(request)
    if token is not None:
        if scope not in token.scopes:
            raise ClientError("FORBIDDEN", f"The service token {token.prefix} has no scope {scope}.")
        return
    user = _user_of(request)
    if not user.is_authenticated:
        raise ClientError("UNAUTHENTICATED", f"Show a service token with the scope {scope}, or log in as staff.")
    if not (user.is_active and user.is_staff):
        raise ClientError("FORBIDDEN", "Your account is no staff account: this field is for staff.")
    for permission in needed:
        if not user.has_perm(permission):
            raise ClientError("FORBIDDEN", f"Your account lacks the permission {permission}.")


def _user_of(request: HttpRequest | None) -> Any:
    return getattr(request, "user", None) or AnonymousUser()
