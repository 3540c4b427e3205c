"""The page of incidents, and what people say to one: that they have it in hand, or want to hear of it later."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from crons import api
from crons.conf import conf
from crons.exceptions import Refused
from crons.models import Incident
from crons.presentation import local, readable_line
from crons.web import incidents, rights, shell


@shell.page(*shell.NEEDED, incidents.VIEW)
def listed(request: HttpRequest) -> HttpResponse:
    """Show the incidents: first those that are open."""
    seen = incidents.look(request.user)
    return shell.render(request, "incidents", {"seen": seen, "zone": conf.time_zone, "quiet": incidents.QUIET})


@shell.page(*shell.NEEDED, incidents.VIEW)
def one(request: HttpRequest, number: str) -> HttpResponse:
    """Show one incident: what it is, what was told of it to whom, and what people said to it."""
    row = incidents.incident_of(number, request.user)
    seen = incidents.look_at(row, request.user)
    told = {"seen": seen, "incident": row, "zone": row.entry.zone if row.entry else conf.time_zone}
    return shell.render(request, "incident", {**told, "quiet": incidents.QUIET})


@shell.action(incidents.ACT)
def acknowledge(request: HttpRequest, number: str) -> HttpResponse:
    """Note that somebody has an incident in hand."""
    row = incidents.incident_of(number, request.user)
    if refused := _refusal(request, row):
        return refused

    def do() -> str:
        reason = shell.reason_of(request, is_needed=False)
        api.acknowledge(row.pk, by=request.user.get_username(), reason=reason)
        return f"{_name(row)}: acknowledged. No more reminders are sent; when it changes or is over, an alert is."

    return shell.act(request, do, shell.back_to(request, reverse("crons:incidents")))


@shell.action(incidents.ACT)
def snooze(request: HttpRequest, number: str) -> HttpResponse:
    """Have no alert of an incident sent for a while."""
    row = incidents.incident_of(number, request.user)
    if refused := _refusal(request, row):
        return refused

    def do() -> str:
        asked = request.POST.get("for", "")
        if asked not in incidents.QUIET:
            raise Refused(f"for={asked[:20]!r} is no length: expected one of {', '.join(incidents.QUIET)}.")
        until = timezone.now() + incidents.QUIET[asked][1]
        reason = shell.reason_of(request, is_needed=False)
        api.snooze(row.pk, until=until, by=request.user.get_username(), reason=reason)
        return f"{_name(row)}: no alert is sent of it until {local(until, conf.time_zone)}, unless it is over."

    return shell.act(request, do, shell.back_to(request, reverse("crons:incidents")))


def _refusal(request: HttpRequest, row: Incident) -> HttpResponse | None:
    if row.entry is not None:
        return shell.refusal_of(request, incidents.ACT, row.entry)
    if rights.may_all(request.user, incidents.ACT):
        return None
    lacking = (
        f"Your account lacks the permission {incidents.ACT} for all entries, and this incident is about no single one."
    )
    return shell.render(request, "refused", {"lacking": lacking, "needed": [incidents.ACT]}, 403)


def _name(row: Incident) -> str:
    return f"Incident {row.pk}" + (f" of {readable_line(row.entry.name)}" if row.entry else "")
