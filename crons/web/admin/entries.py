"""Entries: jobs on their schedules."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from crons import ledger
from crons.exceptions import CronsError
from crons.models import Entry, Range, Run
from crons.presentation import describe_policy, describe_schedule, describe_state, next_slot_at
from crons.redaction import for_people
from crons.templatetags.crons_pages import at
from crons.web.admin.acts import PAUSE, RESUME, RUN, OperatedAdmin, in_lists
from crons.web.admin.base import DetailAdmin, cell_html

NEXT = 5
LAST = 20


class StateFilter(admin.SimpleListFilter):
    """What holds an entry."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer the states."""
        return [("paused", "Paused"), ("parked", "Parked: cannot be planned"), ("retired", "Retired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep what is so; retired entries only where they are asked for."""
        if self.value() == "retired":
            return queryset.filter(retired_at__isnull=False)
        live = queryset.filter(retired_at=None)
        if self.value() == "paused":
            return live.filter(paused_at__isnull=False)
        return live.exclude(parked_reason="") if self.value() == "parked" else live


@admin.register(Entry)
class EntryAdmin(OperatedAdmin, DetailAdmin):
    """What a scheduler looks at: when each is due, and what holds it."""

    list_display = ("name", "says", "next_slot", "holds", "owner", "source")
    list_filter = (StateFilter, "source")
    search_fields = ("name", "job", "description", "owner")
    ordering = ("name",)
    acts = (RUN, PAUSE, RESUME)
    actions = in_lists(*acts)
    detail_template = "admin/crons/entry.html"

    def has_run_entry_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and self.may(request, "crons.run_entry")

    def has_pause_entry_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and self.may(request, "crons.pause_entry")

    @admin.display(description="schedule")
    def says(self, entry: Entry) -> str:
        return describe_schedule(entry)

    @admin.display(description="next slot")
    def next_slot(self, entry: Entry) -> str | SafeString:
        """Write the next slot as planning last saw it."""
        if entry.wake_at is None:
            return "not planned yet"
        slot_at = next_slot_at(entry)
        return "none" if slot_at is None else at(slot_at, entry.zone)

    @admin.display(description="state")
    def holds(self, entry: Entry) -> SafeString:
        return cell_html(describe_state(entry))

    def details(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Say all of one entry: its slots to come, its rules, what became of its last slots."""
        now = ledger.database_now()
        entry: Entry = row
        runs = Run.objects.filter(entry=entry).order_by("-planned_at", "-pk")
        ranges = Range.objects.filter(entry=entry).order_by("-last_at", "-pk")
        may_see_runs = self.may(request, "crons.view_run", entry)
        return {
            "title": entry.name,
            "now": now,
            "buttons": self.buttons(request, entry),
            "facts": _facts(entry),
            "rules": _rules(entry),
            "coming": list(ledger.slots_of(entry, now, NEXT)),
            "may_see_runs": may_see_runs,
            "runs": list(runs.select_related("entry")[:LAST]) if may_see_runs else [],
            "ranges": list(ranges[:NEXT]) if self.may(request, "crons.view_range", entry) else [],
        }


def _facts(entry: Entry) -> list[tuple[str, Any]]:
    facts = [
        ("state", cell_html(describe_state(entry))),
        ("schedule", describe_schedule(entry)),
        ("zone", entry.zone),
        ("job", entry.job),
        ("description", entry.description),
        ("owner", entry.owner),
        ("tags", ", ".join(map(str, entry.tags))),
        ("arguments", str(for_people(entry.args)) if entry.args else ""),
        ("changed here", str(entry.overrides) if entry.overrides else ""),
        ("declared in", f"{entry.source}: {entry.source_ref}" if entry.source_ref else entry.source),
        ("first seen", at(entry.first_seen_at, entry.zone)),
        ("accounted until", at(entry.accounted_until, entry.zone)),
    ]
    return [(label, value) for label, value in facts if value]


def _rules(entry: Entry) -> list[tuple[str, str]]:
    try:
        return describe_policy(ledger.policy_of(entry))
    except CronsError as error:
        return [("policy", f"cannot be read: {error}")]
