"""The first page: what is wrong now, what did not run, what runs now and next. For staff only."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from crons import board
from crons.conf import conf
from crons.exceptions import LedgerUnavailable

NEEDED = ("crons.view_entry", "crons.view_run")
# What the page offers besides looking.
MAY = ("run_entry", "pause_entry", "cancel_run", "retry_run", "view_pause")
# How far back a person may look, by ?days=.
WINDOWS = {"1": timedelta(days=1), "7": timedelta(days=7)}


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show the board to staff who may see entries and runs; say to others what they lack."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), _login_url())
    lacking = _lacking(request)
    if lacking:
        return render(request, "crons/refused.html", {"lacking": lacking}, status=403)
    days = request.GET.get("days", "1")
    days = days if days in WINDOWS else "1"
    try:
        seen = board.look(WINDOWS[days])
    except LedgerUnavailable as error:
        return render(request, "crons/unavailable.html", {"error": error}, status=503)
    may = {name: request.user.has_perm(f"crons.{name}") for name in MAY}
    return render(request, "crons/home.html", {"board": seen, "days": days, "may": may, "zone": conf.time_zone})


def _lacking(request: HttpRequest) -> str:
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
