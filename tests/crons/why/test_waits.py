"""What a due run waits for: `crons show` and `crons why` say the same, and it is what keeps it from beginning."""

from __future__ import annotations

import pytest

from crons import api
from crons.models import Entry, Run
from tests.crons.conftest import NOON, minutes

PAUSED = {"paused_at": NOON + minutes(11), "paused_by": "dana"}
OVER = {**PAUSED, "paused_until": NOON + minutes(12)}
OVERLAPS = {"policy": {"overlap": "allow", "group": "db"}}
PAUSE = "for the end of the pause by dana"
GROUP = "for the group 'db', which is full (1 going)"
PLACE = "for a free place, or for a process that knows the job 'report'"


@pytest.mark.parametrize(
    ("entry", "run", "going", "reason", "waits"),
    [
        (PAUSED, {}, None, "paused", PAUSE),
        (PAUSED, {"asked_at": NOON + minutes(10)}, None, "paused", PAUSE),
        (PAUSED, {"asked_at": NOON + minutes(11)}, None, "", PLACE),
        (PAUSED, {"kind": "manual"}, None, "", PLACE),
        (OVER, {}, None, "", PLACE),
        (PAUSED, {}, "report", "paused", PAUSE),
        ({}, {}, "report", "overlap", "for run 41 of the same entry, which is going"),
        # Who may overlap from now on waits for what began before that: its row keeps the others out.
        (OVERLAPS, {}, "report", "overlap", "for run 41 of the same entry, which is going"),
        (PAUSED, {}, "other", "paused", PAUSE),
        (OVERLAPS, {}, "other", "group", GROUP),
        (PAUSED, {"kind": "manual"}, "other", "group", GROUP),
    ],
)
def test_show_and_why_name_what_keeps_a_run_from_beginning(
    world, make_entry, settings, entry, run, going, reason, waits
):
    """Begin is asked too: it takes the run at once where both name no more than a place."""
    settings.CRONS = {"GROUPS": {"db": 1}}
    report = make_entry("report", group="db")
    if going:
        if going == "other":
            make_entry("other", group="db")
        Entry.objects.exclude(name=going).update(wake_at=NOON + minutes(60))
        world.record(5)
        world.begin(5)
    Entry.objects.filter(pk=report.pk).update(**entry)
    times = {"slot_at": NOON + minutes(10), "planned_at": NOON + minutes(10), "wake_at": NOON + minutes(10)}
    due = Run.objects.create(entry=report, state="due", kind="slot", recorded_at=NOON, **times)
    Run.objects.filter(pk=due.pk).update(**run)
    world.at(13)

    why = api.why("report", run=due.pk)
    shown = api.why_waiting(Run.objects.select_related("entry").filter(pk=due.pk))
    begun = world.begin(13)

    assert (why.status, why.reason) == ("due", reason)
    assert shown == {due.pk: waits}
    assert [each.run for each in begun] == ([] if reason else [due.pk])
