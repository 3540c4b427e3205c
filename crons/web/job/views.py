"""The page of a job, and what is sent from it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import partial, update_wrapper
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.dateparse import parse_datetime

from crons.exceptions import CronsError, InvalidSetting, LedgerUnavailable, Refused
from crons.models import Entry, Run, is_text
from crons.templatetags.crons_pages import job_page, run_page
from crons.web import rights, shell
from crons.web.act_forms import ConfirmForm
from crons.web.acts import RUN, Act, changed_since, seen_of, why_unfit
from crons.web.job.acts import ACTS, LookedAt
from crons.web.job.page import read
from crons.web.job.run_form import run_form

LARGEST = 2**63


def job(request: HttpRequest, name: str = "", pk: int = 0) -> HttpResponse:
    """Show one entry, by its name or by its number, or do what was sent."""
    if request.method != "POST":
        return _shown(request, name, pk)
    verb = request.POST.get("do", "")
    return POSTED.get(verb, _unknown)(request, name, pk)


@shell.page()
def _shown(request: HttpRequest, name: str, pk: int) -> HttpResponse:
    entry = _find(request, name, pk)
    if refused := shell.refusal_of(request, rights.VIEW_RUN, entry):
        return refused
    act = ACTS.get(request.GET.get("do", ""))
    form = _form(act, entry)(initial={"key": uuid.uuid4()}) if act and _is_offered(request, act, entry) else None
    return _page(request, entry, act if form else None, form)


def _do(act: Act, request: HttpRequest, name: str, pk: int) -> HttpResponse:
    """Do what was sent, and say what became of it; where it could not be done, the page says why and asks again."""
    entry = _find(request, name, pk)
    for permission in (rights.VIEW_RUN, f"crons.{act.permission}"):
        if refused := shell.refusal_of(request, permission, entry):
            return refused
    form = _form(act, entry)(request.POST)
    if changed := changed_since(entry, request.POST.get("seen", "")):
        return _page(
            request, entry, act, form, error=f"Nothing was done: {changed}. See whether you still want it.", status=409
        )
    if unfit := why_unfit(act, entry):
        return _page(request, entry, act, form, 409, error=f"Nothing was done: {unfit}")
    if not form.is_valid():
        return _page(request, entry, act, form, status=400)
    try:
        if isinstance(act, LookedAt):
            preview = act.look(entry, form.cleaned_data)
            if request.POST.get("expected") != preview.expected or not preview.expected:
                is_other = bool(request.POST.get("expected"))
                told = "Nothing was done: it would be something else by now. Look again." if is_other else ""
                return _page(request, entry, act, form, error=told, preview=preview, status=409 if is_other else 200)
        done = act.do(entry, request.user.get_username(), form.cleaned_data)
    except (LedgerUnavailable, InvalidSetting):
        raise
    except CronsError as error:
        return _page(request, entry, act, form, error=f"Nothing was done: {error}", status=409)
    messages.success(request, f"{entry.name}: {act.done}.", fail_silently=True)
    # What was asked to run is watched on its own page, where its output comes in.
    back = run_page(done.pk) if isinstance(done, Run) else shell.back_to(request, job_page(entry))
    return HttpResponseRedirect(back)


@shell.action("crons.view_entry")
def _unknown(request: HttpRequest, name: str, pk: int) -> HttpResponse:
    raise Refused(f"{request.POST.get('do', '')[:40]!r} is nothing that can be done here: {', '.join(ACTS)}.")


def _posted(act: Act) -> shell.View:
    return shell.action(f"crons.{act.permission}")(update_wrapper(partial(_do, act), _do))


POSTED = {verb: _posted(act) for verb, act in ACTS.items()}


def _find(request: HttpRequest, name: str, pk: int) -> Entry:
    rows = Entry.objects
    known = rows.filter(name=name) if name else rows.filter(pk=pk if pk < LARGEST else 0)
    # Not the nearest name, as the command line says it: of a hundred thousand each would be compared.
    entry = known.first() if is_text(name) else None
    # Whoever may not see it learns no more of it than of one that is not there.
    if entry is not None:
        # What may be done, in the same statement as what may be seen: a hook may answer each permission otherwise.
        asked = {rights.VIEW, *shell.NEEDED, *(f"crons.{act.permission}" for act in ACTS.values())}
        rights.permitted_each(request.user, asked, [entry.pk])
    if entry is None or not rights.may(request.user, rights.VIEW, entry):
        raise Http404(f"No entry is called {name!r}." if name else f"No entry has the number {pk}.")
    return entry


def _form(act: Act, entry: Entry) -> type[ConfirmForm]:
    return run_form(entry) if act is RUN else act.form


def _is_offered(request: HttpRequest, act: Act, entry: Entry) -> bool:
    return act.fits(entry) and not rights.lacks(request.user, f"crons.{act.permission}", entry)


def _page(
    request: HttpRequest, entry: Entry, act: Act | None, form: Any, status: int = 200, **said: Any
) -> HttpResponse:
    seen = read(entry, _before(request))
    offered = [each for each in ACTS.values() if _is_offered(request, each, entry)]
    told = {"job": seen, "acts": offered, "act": act, "form": form, "seen": seen_of(entry)}
    told["sees_incidents"] = rights.may(request.user, rights.VIEW_INCIDENT, entry)
    told["is_looked_at"] = isinstance(act, LookedAt)
    return shell.render(request, "job", {**told, **said}, status)


def _before(request: HttpRequest) -> datetime | None:
    try:
        found = parse_datetime(request.GET.get("before", ""))
        return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None
    except (ValueError, OverflowError):  # in UTC it would lie before the year 1, or after 9999
        return None
