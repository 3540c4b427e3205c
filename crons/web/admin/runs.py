"""Runs and ranges: what became of each slot."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from crons import ledger
from crons.conf import conf
from crons.models import Attempt, Range, Run, not_well
from crons.presentation import describe_given, describe_verdict, distance, length, readable, words
from crons.templatetags.crons_pages import at, run_status
from crons.verdicts import MEANINGS, Kind, State, Verdict
from crons.web import output
from crons.web.admin.acts import CANCEL, RETRY, OperatedAdmin, in_lists
from crons.web.admin.attempts import facts_of
from crons.web.admin.base import DetailAdmin, EntryRowsAdmin, WhenFilter, among, cell_html, may_see

# A run with more tries than these shows the last ones; all of them stand in the list of attempts.
ATTEMPTS = 20


class VerdictFilter(admin.SimpleListFilter):
    """How a run stands or ended; each choice has an index that holds just these, or nearly all are so."""

    title = "verdict"
    parameter_name = "ended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer what people look for first."""
        verdicts = [(word.value, words(word).capitalize()) for word in Verdict]
        return [("open", "Not over yet"), ("unwell", "Other than succeeded"), *verdicts]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep what ended so."""
        asked = self.value()
        if not asked:
            return queryset
        if asked == "open":
            runs = Run.objects.using(conf.database).values("pk")
            # Each along its own index of open rows: state IN (…) alone reads all that have ended as well.
            running, waiting = runs.filter(state=State.RUNNING), runs.filter(wake_at__isnull=False)
            mine = [may_see(request, each, "crons.view_run") for each in (running, waiting)]
            return among(queryset, mine[0].union(mine[1], all=True))
        if asked == Verdict.SUCCEEDED:
            return queryset.filter(verdict=asked)
        found = not_well(queryset, "verdict")
        return found if asked == "unwell" else found.filter(verdict=asked)


@admin.register(Run)
class RunAdmin(OperatedAdmin, DetailAdmin, EntryRowsAdmin):
    """Slots and requests, newest first."""

    list_display = ("number", "entry_name", "slot", "stands", "tries", "came_by")
    list_filter = (VerdictFilter, WhenFilter)
    ordering = ("-planned_at", "-pk")
    acts = (CANCEL, RETRY)
    actions = in_lists(*acts)
    detail_template = "admin/crons/run.html"

    def has_cancel_run_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and self.may(request, "crons.cancel_run")

    def has_retry_run_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and self.may(request, "crons.retry_run")

    @admin.display(description="run")
    def number(self, run: Run) -> str:
        """Write the number without the marks of thousands: people copy it."""
        return str(run.pk)

    @admin.display(description="entry")
    def entry_name(self, run: Run) -> str:
        return run.entry.name

    @admin.display(description="slot")
    def slot(self, run: Run) -> SafeString:
        """Write the slot in the entry's zone; of a request, when it was made."""
        when = at(run.slot_at or run.planned_at, run.entry.zone)
        return when if run.slot_at else format_html("{} ({})", when, words(run.kind))

    @admin.display(description="verdict")
    def stands(self, run: Run) -> SafeString:
        return run_status(run)

    @admin.display(description="trigger")
    def came_by(self, run: Run) -> str:
        """Say who looked at the clock, and who asked."""
        return f"{run.trigger} ({run.requested_by})" if run.requested_by else run.trigger

    def details(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Say all of one run: its slot, its verdict, and each attempt with what it wrote last."""
        run: Run = row
        now = ledger.database_now()
        attempts = list(run.attempts.using(conf.database).select_related("work").order_by("-number")[:ATTEMPTS])
        last = attempts[0] if attempts else None
        # What a job wrote may hold more than its verdict: customers, say.
        may_read = self.may(request, "crons.view_attempt", run.entry)
        return {
            "title": f"Run {run.pk} of {run.entry.name}",
            "now": now,
            "buttons": self.buttons(request, run),
            "facts": _facts(run, attempts, now),
            "attempts": [
                (each, facts_of(each, run.entry.zone, now), readable(each.error) if may_read else "")
                for each in attempts
            ],
            "may_read": may_read,
            "left_out": max(run.tries - len(attempts), 0),
            "last": last,
            "written": output.tail(last) if last and may_read else None,
        }


class LastWhenFilter(WhenFilter):
    """How far back ranges go, by their last slot."""

    column = "last_at"


@admin.register(Range)
class RangeAdmin(EntryRowsAdmin):
    """Slots missed or skipped together."""

    list_display = ("entry_name", "last", "first", "count", "ended", "why")
    list_display_links = None
    list_filter = (LastWhenFilter, "verdict", "reason")
    ordering = ("-last_at", "-pk")

    @admin.display(description="entry")
    def entry_name(self, row: Range) -> str:
        return row.entry.name

    @admin.display(description="last slot")
    def last(self, row: Range) -> SafeString:
        return at(row.last_at, row.entry.zone)

    @admin.display(description="first slot")
    def first(self, row: Range) -> SafeString:
        return at(row.first_at, row.entry.zone)

    @admin.display(description="verdict")
    def ended(self, row: Range) -> SafeString:
        return cell_html(describe_verdict(row.verdict, row.reason))

    @admin.display(description="why")
    def why(self, row: Range) -> str:
        return MEANINGS.get(row.reason or row.verdict, "")


def _facts(run: Run, attempts: list[Attempt], now: datetime) -> list[tuple[str, Any]]:
    zone = run.entry.zone
    first = next((each for each in attempts if each.number == 1), None)
    lag = first.begun_at - run.planned_at if first else None
    by = f" ({run.requested_by})" if run.requested_by else ""
    asked = "a person filled a hole" if run.kind == Kind.BACKFILL else "none: somebody asked for it"
    facts: list[tuple[str, Any]] = [
        ("slot", at(run.slot_at, zone, now) if run.slot_at else asked),
        ("verdict", run_status(run)),
        ("meaning", MEANINGS.get(run.reason or run.verdict, "")),
        ("recorded", at(run.recorded_at, zone)),
        ("by", f"{run.trigger}{by}"),
        ("begun after", length(lag) if lag is not None else ""),
        ("ended", at(run.ended_at, zone) if run.ended_at else ""),
        ("took in all", length(run.ended_at - first.begun_at) if run.ended_at and first else ""),
        ("next try", f"{distance(run.wake_at, now)}" if run.wake_at and run.state == State.WAITING else ""),
        ("not begun after", at(run.start_before, zone) if run.start_before else ""),
        ("arguments", describe_given(run)),
        ("owner", run.entry.owner),
    ]
    return [(label, value) for label, value in facts if value]
