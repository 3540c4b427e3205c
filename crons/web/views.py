"""The first page, what is wrong now, what did not run, what runs now and next; and why a slot did not. For staff."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from crons import api
from crons.conf import conf
from crons.exceptions import InvalidSetting, LedgerUnavailable, Refused, UnknownJob
from crons.presentation import UNWANTED, readable_page
from crons.web import overview

NEEDED = ("crons.view_entry", "crons.view_run")
# What the page offers besides looking.
MAY = ("run_entry", "pause_entry", "cancel_run", "retry_run", "view_pause")
# How far back a person may look, by ?days=.
WINDOWS = {"1": timedelta(days=1), "7": timedelta(days=7)}


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show the board to staff who may see entries and runs; say to others what they lack."""
    if (refused := _refusal(request)) is not None:
        return refused
    days = request.GET.get("days", "1")
    days = days if days in WINDOWS else "1"
    try:
        seen = overview.look(WINDOWS[days])
    except (LedgerUnavailable, InvalidSetting) as error:
        return _unavailable(request, error)
    may = {name: request.user.has_perm(f"crons.{name}") for name in MAY}
    return _page(request, "home", {"board": seen, "days": days, "may": may, "zone": conf.time_zone})


@never_cache
@require_safe
def why(request: HttpRequest) -> HttpResponse:
    """Answer why a slot ended as it did: ?entry= and perhaps ?at= or ?run=; without them ask for them."""
    if (refused := _refusal(request)) is not None:
        return refused
    name, at, run = (request.GET.get(field, "").strip() for field in ("entry", "at", "run"))
    # The largest number of a row has 19 digits.
    number = int(run) if run.isascii() and run.isdecimal() and len(run) < 20 else None
    told: dict[str, Any] = {"entry": name, "at": at}
    if not name:
        return _page(request, "why", told)
    try:
        answer = api.why(name, at or None, run=number)
    except (UnknownJob, Refused) as error:
        return _page(request, "why", {**told, "error": error}, 404 if isinstance(error, UnknownJob) else 400)
    except (LedgerUnavailable, InvalidSetting, DatabaseError) as error:
        return _unavailable(request, error)
    tone = "bad" if answer.status in UNWANTED else "good" if answer.status == "succeeded" else "warn"
    return _page(request, "why", {**told, "answer": answer, "tone": tone})


def _refusal(request: HttpRequest) -> HttpResponse | None:
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), _login_url())
    if missing := lacking(request):
        return _page(request, "refused", {"lacking": missing}, 403)
    return None


def _unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    return _page(request, "unavailable", {"error": error, "is_away": not isinstance(error, InvalidSetting)}, 503)


def _page(request: HttpRequest, name: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """Render a page; whatever of a job's words no filter has looked at cannot deceive who reads it."""
    page = readable_page(render_to_string(f"crons/{name}.html", context, request))
    return HttpResponse(page, status=status)


def lacking(request: HttpRequest) -> str:
    """Say what a person lacks who may not see the board; empty where nothing is."""
    if not (request.user.is_active and request.user.is_staff):
        return "This page is for staff: your account is none."
    missing = [name for name in NEEDED if not request.user.has_perm(name)]
    if missing:
        return f"Your account lacks the permission {' and '.join(missing)}."
    return ""


def _login_url() -> str:
    try:
        return reverse("admin:login")
    except NoReverseMatch:  # a project without the admin has a page of its own
        return str(settings.LOGIN_URL)
