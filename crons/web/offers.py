"""The buttons of a page that stands for many entries: each acts where it stands, and is shown to who may press it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.urls import reverse
from django.utils import timezone

from crons.models import Entry, Pause
from crons.presentation import describe_scope, readable_line
from crons.templatetags.crons_pages import job_page
from crons.web import rights
from crons.web.act_forms import OptionalReasonForm, PauseForm
from crons.web.acts import CANCEL, END, PAUSE, RETRY, RUN, Act, seen_of, stamp_of_pause

VERBS = {"run": RUN, "pause": PAUSE, "resume": END, "cancel": CANCEL, "retry": RETRY}


@dataclass(frozen=True)
class Button:
    """What `crons/act.html` makes a form of. *seen* is what the page shows: the answer to a stale button says so."""

    title: str
    named: str
    address: str
    follows: str
    reason: str
    seen: str = ""
    do: str = ""
    key: str = ""
    until: str = ""


class Offer:
    """Answers which button of a verb stands beside a row, for one person and one page.

    Args: *entries* are the ids of all entries on the page, so that one statement says what may be done to them;
    *stamps* tells how runs stood, by their number.
    """

    def __init__(self, user: Any, entries: Iterable[int], stamps: Mapping[int, str]) -> None:
        shown = list(entries)
        names = {act.permission for act in VERBS.values()}
        may = rights.permitted_each(user, [f"crons.{name}" for name in names], shown)
        self._may = {name: may[f"crons.{name}"] for name in names}
        # What holds more than one entry is seen by who may see pauses, and ended by who may act on all entries.
        self._may_all = rights.may_all(user, "crons.pause_entry") and rights.may(user, "crons.view_pause")
        self._stamps = stamps
        # One for the page: a button that is pressed twice is one request.
        self._key = str(uuid.uuid4())

    def button(self, verb: str, row: Entry | Pause, run_id: int | None = None) -> dict[str, Any]:
        """Return the button of *verb* for an entry, one of its runs, or a pause; empty where none is offered."""
        act = VERBS[verb]
        entry = row.entry if isinstance(row, Pause) else row
        if not (self._may_all if entry is None else entry.pk in self._may[act.permission]):
            return {}
        if isinstance(row, Pause):
            found = self._button(act, describe_scope(row), reverse("crons:resume", args=[row.pk]), stamp_of_pause(row))
        elif run_id is not None:
            named = f"run {run_id} of {row.name}"
            found = self._button(act, named, reverse(f"crons:{verb}", args=[run_id]), self._stamps.get(run_id, ""))
        elif act.fits(row):
            found = self._button(act, row.name, job_page(row), seen_of(row), do=verb, key=self._key)
        else:
            return {}
        return asdict(found)

    def _button(self, act: Act, named: str, address: str, seen: str, **more: str) -> Button:
        reason = "optional" if issubclass(act.form, OptionalReasonForm) else "needed"
        until = timezone.get_current_timezone_name() if issubclass(act.form, PauseForm) else ""
        return Button(act.title, readable_line(named), address, act.follows, reason, seen, until=until, **more)
