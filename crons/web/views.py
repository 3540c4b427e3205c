"""The first page, what is wrong now, what did not run, what runs now and next; and why a slot did not. For staff."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse

from crons import api
from crons.conf import conf
from crons.exceptions import Refused, UnknownJob
from crons.models import Entry
from crons.presentation import UNWANTED
from crons.web import overview, rights, shell
from crons.web.incidents import ACT as ACKNOWLEDGE
from crons.web.incidents import QUIET
from crons.web.offers import Offer

# How far back a person may look, by ?days=.
WINDOWS = {"1": timedelta(days=1), "7": timedelta(days=7)}


@shell.page()
def home(request: HttpRequest) -> HttpResponse:
    """Show the board."""
    days = request.GET.get("days", "1")
    days = days if days in WINDOWS else "1"
    seen = overview.look(WINDOWS[days], user=request.user)
    told = {
        "board": seen, "days": days, "zone": conf.time_zone, "quiet": QUIET,
        "offers": Offer(request.user, seen.shown, seen.stamps),
        "sees_incidents": rights.may(request.user, rights.VIEW_INCIDENT),
        "may_acknowledge": rights.permitted(request.user, ACKNOWLEDGE, seen.shown),
    }  # fmt: skip
    return shell.render(request, "home", told)


@shell.page()
def why(request: HttpRequest) -> HttpResponse:
    """Answer why a slot ended as it did: ?entry= and perhaps ?at= or ?run=; without them ask for them."""
    name, at, run = (request.GET.get(field, "").strip() for field in ("entry", "at", "run"))
    # The largest number of a row has 19 digits.
    number = int(run) if run.isascii() and run.isdecimal() and len(run) < 20 else None
    told: dict[str, Any] = {"entry": name, "at": at}
    if not name:
        return shell.render(request, "why", told)
    try:
        if not all(rights.may_all(request.user, each) for each in shell.NEEDED):
            entry = rights.visible(request.user, Entry.objects.using(conf.database)).filter(name=name).first()
            if entry is None:
                # Not with api.why's words: they name what is near, which may be somebody else's.
                raise UnknownJob(f"{name!r} is no entry that you may see.")
            if refused := shell.refusal_of(request, rights.VIEW_RUN, entry):
                return refused
        answer = api.why(name, at or None, run=number)
    except (UnknownJob, Refused) as error:
        return shell.render(request, "why", {**told, "error": error}, 404 if isinstance(error, UnknownJob) else 400)
    tone = "bad" if answer.status in UNWANTED else "good" if answer.status == "succeeded" else "warn"
    return shell.render(request, "why", {**told, "answer": answer, "tone": tone})
