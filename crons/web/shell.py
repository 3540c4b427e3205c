"""What every page is made of: who may see it, its security policy, rendering, refusals, and what is sent by POST."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from crons.exceptions import CronsError, InvalidSetting, LedgerUnavailable, Refused, UnknownJob
from crons.models import Entry, is_text
from crons.presentation import readable_line, readable_page
from crons.web import rights

View = Callable[..., HttpResponse]

# What everybody needs who sees any page.
NEEDED = ("crons.view_entry", "crons.view_run")
LONGEST_REASON = 200
# Nothing is loaded from elsewhere, and nothing inline: what a job wrote stays text even where escaping failed.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


def page(*needed: str) -> Callable[[View], View]:
    """Make a view a page for staff with the permissions *needed*, by default those of every page.

    What cannot be shown becomes a page that says why: 404 for what is not there (Http404, UnknownJob), 400 for what
    cannot be asked (Refused), 503 where the database is away or a setting is wrong.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            refused = refusal(request, *(needed or NEEDED))
            return refused or _told(request, view, *args, **kwargs)

        return never_cache(require_safe(shown))

    return decorate


def action(permission: str) -> Callable[[View], View]:
    """Make a view take a POST from staff who may see the pages and have *permission* for any entry at all.

    The view itself asks `rights.lacks(request.user, permission, entry)` of each entry that it would touch.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def posted(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            refused = refusal(request, *NEEDED, permission)
            return refused or _told(request, view, *args, **kwargs)

        # Also where a project has not the middleware: a form of another site must never act.
        return never_cache(require_POST(csrf_protect(posted)))

    return decorate


def act(request: HttpRequest, do: Callable[[], str], back: str) -> HttpResponse:
    """Do what was asked and go to the page *back*, which says what became of it: what *do* returns, or why not."""
    try:
        messages.success(request, do(), fail_silently=True)
    except (LedgerUnavailable, InvalidSetting):
        raise
    except CronsError as error:
        messages.error(request, f"Nothing was done: {error}", fail_silently=True)
    return HttpResponseRedirect(back)


def reason_of(request: HttpRequest, *, is_needed: bool = True) -> str:
    """Return the reason that was sent.

    Raises: Refused if it is missing, or is none.
    """
    reason = request.POST.get("reason", "").strip()
    if is_needed and not reason:
        raise Refused("a reason is expected: whoever wonders later reads it.")
    if len(reason) > LONGEST_REASON or not is_text(reason):
        raise Refused(f"the reason has {len(reason)} characters: expected at most {LONGEST_REASON}, and no NUL.")
    return reason


def back_to(request: HttpRequest, otherwise: str) -> str:
    """Return where a form said that it came from, if that is an address of this site; else *otherwise*."""
    asked = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(asked, {request.get_host()}, require_https=request.is_secure()):
        return asked
    return otherwise


def render(request: HttpRequest, name: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """Render a page; whatever of a job's words no filter has looked at cannot deceive who reads it."""
    whole = readable_page(render_to_string(f"crons/{name}.html", context, request))
    return HttpResponse(whole, status=status, headers={"Content-Security-Policy": policy()})


def policy() -> str:
    """Return the pages' Content-Security-Policy; static files may lie on a host of their own."""
    found = urlsplit(settings.STATIC_URL or "")
    elsewhere = f"{found.scheme or 'https'}://{found.netloc}" if found.netloc else ""
    extra = {"script-src", "style-src", "img-src"} if elsewhere else set()
    return "; ".join(f"{name} {told}{f' {elsewhere}' if name in extra else ''}" for name, told in POLICY.items())


def refusal(request: HttpRequest, *needed: str) -> HttpResponse | None:
    """Return what to answer to one who may not; None to one who may."""
    if not request.user.is_authenticated:
        # A part that refreshes itself must not become the form of the login.
        if request.headers.get("HX-Request"):
            return HttpResponse("You are logged out.", status=401)
        is_read = request.method in ("GET", "HEAD")
        asked = request.get_full_path() if is_read else back_to(request, reverse("crons:home"))
        return redirect_to_login(asked, _login_url())
    if missing := lacking(request, *needed):
        return render(request, "refused", {"lacking": missing, "needed": needed}, 403)
    return None


def refusal_of(request: HttpRequest, permission: str, entry: Entry) -> HttpResponse | None:
    """Return what to answer to one who may not do to *entry* what *permission* is for; None to one who may."""
    if missing := rights.lacks(request.user, permission, entry):
        return render(request, "refused", {"lacking": missing, "needed": [permission]}, 403)
    return None


def lacking(request: HttpRequest, *needed: str) -> str:
    """Say what a person lacks who may not see a page; empty where nothing is."""
    if not (request.user.is_active and request.user.is_staff):
        return "This page is for staff: your account is none."
    return rights.lacks_any(request.user, needed or NEEDED)


def unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    """Say why nothing is known now: what is not known must not look well."""
    return render(request, "unavailable", {"error": error, "is_away": not isinstance(error, InvalidSetting)}, 503)


def _told(request: HttpRequest, view: View, *args: Any, **kwargs: Any) -> HttpResponse:
    try:
        return view(request, *args, **kwargs)
    except (Http404, UnknownJob) as error:
        return render(request, "missing", {"error": readable_line(str(error))}, 404)
    except Refused as error:
        return render(request, "missing", {"error": error, "cannot": True}, 400)
    except (LedgerUnavailable, InvalidSetting, DatabaseError) as error:
        return unavailable(request, error)


def _login_url() -> str:
    try:
        return reverse("admin:login")
    except NoReverseMatch:  # a project without the admin has a page of its own
        return str(settings.LOGIN_URL)
