"""The list of jobs, and what is done to several of them at once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from crons.exceptions import CronsError, InvalidSetting, LedgerUnavailable, Refused
from crons.models import Entry
from crons.web import rights, shell
from crons.web.act_forms import PauseForm, ReasonForm
from crons.web.acts import PAUSE, RESUME, RUN, Act, changed_since, why_unfit
from crons.web.jobs.asked import ORDERS, STATES, VERDICTS, Asked
from crons.web.jobs.listing import SHOWN, read

ACTS = {each.verb: each for each in (RUN, PAUSE, RESUME)}
FORMS: Mapping[str, type[forms.Form]] = {"run": ReasonForm, "pause": PauseForm, "resume": ReasonForm}


@dataclass(frozen=True)
class Done:
    """What became of one entry; *why* not is empty where it was done."""

    entry: Entry
    why: str = ""


def jobs(request: HttpRequest) -> HttpResponse:
    """Show the list, or do what was sent to those chosen in it."""
    if request.method != "POST":
        return _shown(request)
    return POSTED.get(request.POST.get("do", ""), _unknown)(request)


@shell.page()
def _shown(request: HttpRequest) -> HttpResponse:
    asked = Asked.read(request.GET.dict())
    seen = read(asked, partial(_visible, request.user))
    acts = [act for act in ACTS.values() if rights.may(request.user, f"crons.{act.permission}")]
    told = {"list": seen, "acts": acts, "states": STATES, "verdicts": VERDICTS, "orders": ORDERS}
    return shell.render(request, "jobs", told)


def _do(act: Act, request: HttpRequest) -> HttpResponse:
    """Ask once more where more than one was chosen, then do it to each, and say of each what became of it."""
    back = shell.back_to(request, reverse("crons:jobs"))
    chosen = list(_chosen(request))
    if not chosen:
        messages.warning(request, f"{act.title}: nothing was done, because no job was chosen.", fail_silently=True)
        return HttpResponseRedirect(back)
    is_sent = len(chosen) == 1 or "sure" in request.POST
    given = {"key": uuid.uuid4(), **request.POST.dict()}
    form = FORMS[act.verb](given)
    told = {"act": act, "back": back, "form": form, "chosen": [(each, _seen(request, each)) for each in chosen]}
    if not form.is_valid() or not is_sent:
        return shell.render(request, "jobs_ask", told, 400 if is_sent else 200)
    done = [_one(act, request, each, form.cleaned_data) for each in chosen]
    return shell.render(request, "jobs_done", {**told, "done": done, "well": [each for each in done if not each.why]})


def _one(act: Act, request: HttpRequest, entry: Entry, given: Mapping[str, Any]) -> Done:
    if lacking := rights.lacks(request.user, f"crons.{act.permission}", entry):
        return Done(entry, lacking)
    if changed := changed_since(entry, _seen(request, entry)):
        return Done(entry, f"{changed}.")
    if unfit := why_unfit(act, entry):
        return Done(entry, unfit)
    try:
        act.do(entry, request.user.get_username(), given)
    except (LedgerUnavailable, InvalidSetting):
        raise
    except CronsError as error:
        return Done(entry, str(error))
    return Done(entry)


def _chosen(request: HttpRequest) -> QuerySet[Entry]:
    """Return the entries that were chosen: those that there are, and that may be seen."""
    # The largest number of a row has 19 digits.
    ids = {each for each in request.POST.getlist("ids") if each.isascii() and each.isdecimal() and len(each) < 19}
    if len(ids) > SHOWN:
        raise Refused(f"{len(ids)} jobs were chosen, expected at most the {SHOWN} of a page: nothing was done.")
    rows = Entry.objects.filter(pk__in=ids).order_by("name")
    return _visible(request.user, rows)


def _visible(user: Any, rows: QuerySet[Entry]) -> QuerySet[Entry]:
    """Keep the entries that *user* may see, and whose runs: a row of the list is mostly of these."""
    for permission in shell.NEEDED:
        rows = rights.visible(user, rows, permission)
    return rows


def _seen(request: HttpRequest, entry: Entry) -> str:
    return request.POST.get(f"seen-{entry.pk}", "")


@shell.action("crons.view_entry")
def _unknown(request: HttpRequest) -> HttpResponse:
    raise Refused(f"{request.POST.get('do', '')[:40]!r} is nothing that can be done here: {', '.join(ACTS)}.")


def _posted(act: Act) -> shell.View:
    return shell.action(f"crons.{act.permission}")(update_wrapper(partial(_do, act), _do))


POSTED = {verb: _posted(act) for verb, act in ACTS.items()}
