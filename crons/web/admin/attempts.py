"""Attempts: tries at runs, and what they wrote."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from crons import ledger
from crons.models import Attempt, Run, not_well
from crons.presentation import Cell, describe_verdict, describe_work, readable, took, words, work_of
from crons.templatetags.crons_pages import at, progress
from crons.verdicts import Outcome
from crons.watch import going
from crons.web import output
from crons.web.admin.base import DetailAdmin, EntryRowsAdmin, among, cell_html, may_see

# Of so many newest runs a list searched by an entry shows the attempts.
NEWEST_RUNS = 200


class Outcomes(admin.SimpleListFilter):
    """How an attempt ended; see VerdictFilter in runs.py."""

    title = "outcome"
    parameter_name = "ended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer what people look for first."""
        outcomes = [(word.value, words(word).capitalize()) for word in Outcome]
        return [("going", "Still going"), ("unwell", "Other than succeeded"), *outcomes]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep what ended so."""
        asked = self.value()
        if not asked:
            return queryset
        if asked == "going":
            return among(queryset, may_see(request, going(), "crons.view_attempt"))
        if asked == Outcome.SUCCEEDED:
            return queryset.filter(outcome=asked)
        found = not_well(queryset, "outcome")
        return found if asked == "unwell" else found.filter(outcome=asked)


@admin.register(Attempt)
class AttemptAdmin(DetailAdmin, EntryRowsAdmin):
    """Tries at runs, newest first."""

    list_display = ("number_shown", "run_number", "entry_name", "number", "ended", "takes", "begun", "host", "executor")
    list_filter = (Outcomes,)
    named_after = ("run__entry",)
    ordering = ("-pk",)
    detail_template = "admin/crons/attempt.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read what the jobs said of their work along with their attempts."""
        return super().get_queryset(request).select_related("work")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Leave tracebacks where they are: a list, and only that comes here, shows none of them."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        return found.defer("error"), may_repeat

    def of_entries(self, queryset: QuerySet[Any], entries: list[int]) -> QuerySet[Any]:
        """Keep the attempts at the newest runs of *entries*: an attempt itself does not know its entry."""
        runs = Run.objects.filter(entry__in=entries).order_by("-planned_at")
        return queryset.filter(run__in=list(runs.values_list("pk", flat=True)[:NEWEST_RUNS]))

    @admin.display(description="attempt")
    def number_shown(self, attempt: Attempt) -> str:
        """Write the number without the marks of thousands: people copy it."""
        return str(attempt.pk)

    @admin.display(description="run")
    def run_number(self, attempt: Attempt) -> str:
        """Write the run's number."""
        return str(attempt.run_id)

    @admin.display(description="entry")
    def entry_name(self, attempt: Attempt) -> str:
        return attempt.run.entry.name

    @admin.display(description="outcome")
    def ended(self, attempt: Attempt) -> SafeString:
        return cell_html(describe_verdict(attempt.outcome) if attempt.outcome else Cell("still going"))

    @admin.display(description="took")
    def takes(self, attempt: Attempt) -> str:
        # This machine's clock will do: a list must not ask the database's anew for each row.
        return took(attempt, timezone.now())

    @admin.display(description="begun")
    def begun(self, attempt: Attempt) -> SafeString:
        return at(attempt.begun_at, attempt.run.entry.zone)

    def details(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Say all of one attempt, and a page of what it wrote."""
        attempt: Attempt = row
        now = ledger.database_now()
        given = request.GET.get("from", "0")
        start = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else 0
        run = attempt.run
        return {
            "title": f"Attempt {attempt.number} at run {run.pk} of {run.entry.name}",
            "now": now,
            "facts": facts_of(attempt, run.entry.zone, now),
            "error": readable(attempt.error),
            "written": output.page(attempt, start),
            "start": start,
        }


def facts_of(attempt: Attempt, zone: str, now: datetime) -> list[tuple[str, Any]]:
    """Say what is known of *attempt*, those facts left out that it does not have."""
    asked = attempt.cancel_requested_at
    reported, but = attempt.late_outcome, "(reported after it had ended: changed nothing)"
    late = f"{words(reported)} {but}" if reported else ""
    where = f"{attempt.host}, instance {attempt.instance} (pid {attempt.pid}), executor {attempt.executor}"
    memory = attempt.peak_memory_bytes
    facts: list[tuple[str, Any]] = [
        ("outcome", cell_html(describe_verdict(attempt.outcome) if attempt.outcome else Cell("still going"))),
        ("late outcome", late),
        ("where", where),
        ("begun", at(attempt.begun_at, zone)),
        ("ended", at(attempt.ended_at, zone) if attempt.ended_at else ""),
        ("took", took(attempt, now)),
        ("reported", describe_work(work_of(attempt))),
        ("progress", progress(attempt)),
        ("cancel asked", at(asked, zone) if asked else ""),
        ("cancelled because", attempt.cancel_reason),
        ("exit code", "" if attempt.exit_code is None else str(attempt.exit_code)),
        ("processor", "" if attempt.cpu_seconds is None else f"{attempt.cpu_seconds:.2f} s"),
        ("memory", "" if memory is None else f"{memory / 1_000_000:.1f} MB at most"),
        ("id (its fencing token)", str(attempt.pk)),
    ]
    return [(label, value) for label, value in facts if value]
