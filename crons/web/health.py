"""What monitoring asks over HTTP: whether this process lives, whether it can work, whether all is well."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from crons import ledger
from crons.conf import conf
from crons.exceptions import CronsError, InvalidSetting
from crons.presentation import as_json
from crons.side_output import get_log
from crons.watch import Look, find_problems, living
from crons.web import rights
from crons.web.shell import NEEDED

log = get_log("crons")
View = Callable[[HttpRequest], HttpResponse]


def for_machines(view: View) -> View:
    """Let a monitor in that has no login; and no transaction is opened on a database that may be away."""
    return login_not_required(transaction.non_atomic_requests(never_cache(require_safe(view))))


@for_machines
def live(request: HttpRequest) -> HttpResponse:
    """Answer 200: this process takes requests. It asks nothing of the database, and nobody for who they are."""
    return JsonResponse({"status": "live"})


@for_machines
def ready(request: HttpRequest) -> HttpResponse:
    """Answer 200 where slots can be recorded: settings, database, tables, deployment are right; else 503 and why."""
    if refused := refusal(request):
        return refused
    if why := _why_not_ready():
        return JsonResponse({"status": "not ready", "error": why}, status=503)
    return JsonResponse({"status": "ready"})


@for_machines
def well(request: HttpRequest) -> HttpResponse:
    """Answer as `crons health` does: 200 where nothing is wrong, else 503 with what is, or why nobody can tell."""
    if refused := refusal(request):
        return refused
    if why := _why_not_ready():
        return JsonResponse({"status": "unknown", "error": why}, status=503)
    try:
        told = _told()
    except CronsError as error:
        return JsonResponse({"status": "unknown", "error": str(error)}, status=503)
    return JsonResponse(told, status=503 if told["problems"] else 200)


def _told() -> dict[str, Any]:
    # One look for all: the database is asked once for the time.
    look = Look()
    problems = [each.as_json() for each in find_problems(look)]
    return {
        "status": "unwell" if problems else "well",
        "as_of": look.now,
        "problems": problems,
        "pauses": [as_json(each) for each in ledger.active_pauses(look.now, conf.database)],
        "schedulers": [as_json(each) for each in living(look.now)],
    }


def _why_not_ready() -> str:
    if problems := conf.problems():
        return " ".join(problems)
    try:
        ledger.database_now()
        ledger.refuse_a_copy()
    except CronsError as error:
        return str(error)
    except DatabaseError as error:
        return f"the database did not answer, or lacks the tables (manage.py migrate crons): {error}"
    return ""


def refusal(request: HttpRequest) -> HttpResponse | None:
    """Return what to answer to one who may not read; None to one who may."""
    try:
        may, is_set = _may_read(request)
    except InvalidSetting as error:
        about = {"event": "setting.refused", "setting": "MONITORING"}
        log.error("GET %s is refused: %s", request.path, error, extra=about)  # noqa: TRY400 (the sentence says all)
        told = "CRONS['MONITORING'] cannot be used; this host's log and manage.py check say why."
        return JsonResponse({"status": "unknown", "error": told}, status=503)
    if may:
        return None
    if is_set:
        told = "Expected the header `Authorization: Bearer TOKEN` with a token of CRONS['MONITORING'], or its networks."
        return JsonResponse({"error": told}, status=401, headers={"WWW-Authenticate": "Bearer"})
    told = "Only staff may read this until CRONS['MONITORING'] names a TOKEN or NETWORKS."
    return JsonResponse({"error": told}, status=403)


def _may_read(request: HttpRequest) -> tuple[bool, bool]:
    """Say whether *request* may read, and whether any may without a login."""
    tokens, networks = conf.monitoring
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        # All are compared, each to its end: how long this takes tells nothing of how much was right.
        matches = [hmac.compare_digest(each.encode(), given.strip().encode(errors="replace")) for each in tokens]
        if any(matches):
            return True, True
    # The peer's own address: anybody may write X-Forwarded-For.
    address = request.META.get("REMOTE_ADDR", "")
    if networks and _is_in(address, networks):
        return True, True
    # Last, because it asks the database for the session.
    return _is_staff(request), bool(tokens or networks)


def _is_in(address: str, networks: Any) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False  # a socket of this machine has none
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in each for each in networks)


def _is_staff(request: HttpRequest) -> bool:
    try:
        user = getattr(request, "user", None)
        # It tells of all entries.
        return bool(user and user.is_staff and all(rights.may_all(user, name) for name in NEEDED))
    except DatabaseError:
        return False
