"""The page of everything: what ran in the last 24 hours or 7 days, and what comes in the next 24."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse

from crons import ledger
from crons.conf import conf
from crons.exceptions import Refused
from crons.models import Entry, is_text
from crons.web import rights, shell, spreading
from crons.web import timeline as lanes

# Of so many entries, those that wake first, the coming slots are laid side by side.
COMPARED = 300
LONGEST = 100
KEY = [
    ("succeeded", "succeeded"), ("failed", "failed, lost or cancelled"), ("missed", "missed"), ("skipped", "skipped"),
    ("running", "going on, or waiting"),
]  # fmt: skip


@shell.page()
def timeline(request: HttpRequest) -> HttpResponse:
    """Show a lane for each entry, ?after= a name, those of ?owner=, ?tag= and ?name=, back to ?span=."""
    span = request.GET.get("span", "24h")
    span = span if span in lanes.SPANS else "24h"
    asked = {name: _text(request, name) for name in ("name", "owner", "tag")}
    after, now = _text(request, "after"), ledger.database_now()
    seen = rights.visible(request.user, Entry.objects.using(conf.database))
    seen = rights.visible(request.user, seen, "crons.view_run")
    rows = list(lanes.entries_of(seen, asked, after)[: lanes.LANES + 1])
    shown = rows[: lanes.LANES]
    # Those without a schedule wake too, and are few.
    compared = list(lanes.entries_of(seen, asked, "").order_by("wake_at", "name")[: COMPARED + 1])
    coming = spreading.coming({each.pk: each for each in [*shown, *compared[:COMPARED]]}.values(), now)
    past = lanes.past(shown, now, span, conf.time_zone)
    lanes.add_coming(past.lanes, coming.slots, now, spreading.AHEAD, spreading.OFTEN)
    query = {name: value for name, value in asked.items() if value}
    told: dict[str, Any] = {
        "past": past, "coming": coming, "span": span, "asked": asked, "now": now, "zone": conf.time_zone,
        "query": urlencode(query), "after": after, "compared": COMPARED, "is_cut": len(compared) > COMPARED,
        "next": urlencode({**query, "span": span, "after": shown[-1].name}) if len(rows) > len(shown) else "",
        "first": urlencode({**query, "span": span}) if after else "",
        "until": now + spreading.AHEAD, "key": KEY,
    }  # fmt: skip
    return shell.render(request, "timeline", told)


def _text(request: HttpRequest, name: str) -> str:
    given = request.GET.get(name, "").strip()
    if len(given) > LONGEST or not is_text(given):
        raise Refused(f"?{name}= has {len(given)} characters: expected at most {LONGEST}, and no NUL.")
    return given
