"""Pruning: what goes, what stays however old it is, and that it disturbs nobody."""

import io
import json
import re
import sys
from datetime import timedelta
from functools import partial

import pytest
from django.core.management import call_command

from crons import api, ledger
from crons.conf import conf
from crons.exceptions import InvalidSetting
from crons.ledger.maintenance.pruning import LARGEST, SMALLEST, Pace, Pruned, doomed, old_ranges, prune, window_of
from crons.models import Attempt, AuditEvent, Delivery, Entry, Heartbeat, Incident, OutputChunk, Range, Run
from crons.sources.built_in import PRUNE, declare
from tests.crons.conftest import NOON
from tests.crons.filling import fill

DAY = timedelta(days=1)
LONG_AGO = NOON - 400 * DAY
pytestmark = pytest.mark.django_db


@pytest.fixture
def entry(make_entry):
    """An entry that is accounted for up to now."""
    made = make_entry(since=LONG_AGO)
    Entry.objects.update(accounted_until=NOON)
    return made


def make_run(entry, days, verdict="succeeded", **changes):
    """Make a run of so many days ago, with an attempt that has written something."""
    at = NOON - days * DAY
    row = {"slot_at": at, "planned_at": at, "recorded_at": at, "ended_at": at, "state": "done", "trigger": "test"}
    run = Run.objects.create(entry=entry, verdict=verdict, **{**row, **changes})
    attempt = Attempt.objects.create(
        run=run,
        number=1,
        token=f"{run.pk:032d}",
        executor="process",
        instance="i",
        host="h",
        pid=1,
        boot_id="b",
        begun_at=at,
        outcome="succeeded",
    )
    OutputChunk.objects.create(attempt=attempt, seq=0, stream="stdout", text="hello")
    return run


def pruned(**options):
    """Prune as of NOON, without pauses."""
    return prune(NOON, by="ann", pause=lambda seconds: None, **options)


def left():
    """Return the runs that are left."""
    return set(Run.objects.values_list("pk", flat=True))


def test_each_verdict_is_kept_as_long_as_the_setting_says(entry, settings):
    """A failure is looked for long after the successes around it are of no interest."""
    settings.CRONS = {"KEEP": {"succeeded": 30 * DAY, "failed": 90 * DAY, "default": 60 * DAY}}
    going = [make_run(entry, 31), make_run(entry, 91, "failed"), make_run(entry, 61, "missed")]
    staying = [make_run(entry, 29), make_run(entry, 89, "failed"), make_run(entry, 59, "lost"), make_run(entry, 1)]

    done = pruned()

    assert done.runs == {"succeeded": 1, "failed": 1, "missed": 1}
    assert left() == {run.pk for run in staying}
    assert Attempt.objects.filter(run__in=[run.pk for run in going]).count() == 0
    assert OutputChunk.objects.count() == Attempt.objects.count() == len(staying)


def test_none_keeps_for_ever(entry, settings):
    """For those who must show it years later."""
    settings.CRONS = {"KEEP": dict.fromkeys(["default", "succeeded", "skipped", "incidents", "audit"])}
    make_run(entry, 399)
    make_run(entry, 1)

    assert pruned().total == 0
    assert Run.objects.count() == 2


def test_latest_run_and_newest_success_stay_however_old(entry):
    """A page says what happened last, and context.since is read off the newest success."""
    old = make_run(entry, 390)
    newest_success = make_run(entry, 380)
    failures = [make_run(entry, days, "failed") for days in (370, 360)]

    pruned()

    assert left() == {newest_success.pk, failures[-1].pk}
    assert old.pk not in left()


def test_manual_success_is_not_what_since_is_read_off(entry):
    """It has no slot: the newest slot that succeeded still stays."""
    slot = make_run(entry, 390)
    manual = make_run(entry, 380, slot_at=None, kind="manual", request_key="a")
    latest = make_run(entry, 370, "failed")

    pruned()

    assert left() == {slot.pk, latest.pk}
    assert manual.pk not in left()


def test_slot_above_the_account_stays(entry):
    """accounted_until is the only mark: below it a missing row is a row that was pruned."""
    Entry.objects.update(accounted_until=NOON - 380 * DAY)
    below, above = make_run(entry, 390), make_run(entry, 370)
    make_run(entry, 1)

    pruned()

    assert below.pk not in left()
    assert above.pk in left()


@pytest.mark.parametrize("state", ["due", "waiting", "running", "sent"])
def test_run_that_is_not_over_stays(entry, state):
    """Whatever is wrong with it, pruning is not how it ends."""
    run = make_run(entry, 390, "", state=state, ended_at=None)
    make_run(entry, 1)

    pruned()

    assert run.pk in left()


def test_slot_of_long_ago_that_was_run_yesterday_stays(entry):
    """As a backfill makes them."""
    run = make_run(entry, 390, ended_at=NOON - DAY)
    make_run(entry, 1)

    pruned()

    assert run.pk in left()


def test_run_of_an_open_incident_stays_until_it_is_closed(entry):
    """The page of the incident shows it."""
    run = make_run(entry, 390, "failed")
    make_run(entry, 1)
    at = NOON - 390 * DAY
    incident = Incident.objects.create(
        rule="failing", entry=entry, open_key="k", run=run, summary="s", opened_at=at, changed_at=at
    )

    pruned()
    kept = run.pk in left()
    Incident.objects.update(closed_at=NOON, open_key=None)
    pruned()
    incident.refresh_from_db()

    assert kept
    assert run.pk not in left()
    assert incident.run_id is None


def test_run_that_nobody_has_inspected_yet_stays(entry):
    """Its failure was not told."""
    run = make_run(entry, 390, "failed", inspect_at=NOON)
    make_run(entry, 1)

    pruned()

    assert run.pk in left()


def test_entry_retired_long_ago_loses_all_its_runs_and_stays(entry, make_entry):
    """Nobody looks at its last run any more; its name and its pauses may still be asked for."""
    other = make_entry("other")
    Entry.objects.update(accounted_until=NOON)
    Entry.objects.filter(pk=entry.pk).update(retired_at=NOON - 200 * DAY)
    make_run(entry, 390)
    make_run(entry, 380, "failed")
    kept = make_run(other, 390)

    pruned()

    assert left() == {kept.pk}
    assert Entry.objects.count() == 2


def test_ranges_incidents_audit_and_heartbeats_go_too(entry):
    """What is open, unsent or above the account does not."""
    for days, verdict in [(390, "missed"), (32, "skipped"), (31, "missed"), (1, "skipped")]:
        at = NOON - days * DAY
        Range.objects.create(
            entry=entry, first_at=at, last_at=at + timedelta(hours=1), count=3, verdict=verdict, reason="paused",
            trigger="t", recorded_at=at,
        )  # fmt: skip
    old = NOON - 390 * DAY
    about = {"rule": "failing", "entry": entry, "summary": "s", "opened_at": old, "changed_at": old}
    Incident.objects.create(**about, closed_at=old)
    sent = Incident.objects.create(**about, closed_at=old)
    Delivery.objects.create(incident=sent, event="e", channel="c", subject="s", state="sent")
    unsent = Incident.objects.create(**about, closed_at=old)
    Delivery.objects.create(incident=unsent, event="e", channel="c", subject="s", next_try_at=NOON)
    still_open = Incident.objects.create(**about, open_key="k")
    AuditEvent.objects.create(at=NOON - 731 * DAY, actor="a", verb="v", subject_type="s", subject="s")
    AuditEvent.objects.create(at=NOON - 729 * DAY, actor="a", verb="v", subject_type="s", subject="s")
    for name, days in (("dead", 2), ("alive", 0)):
        beat = NOON - days * DAY
        Heartbeat.objects.create(
            instance=name, kind="serve", host="h", pid=1, boot_id="b", started_at=beat, beat_at=beat, expected_by=beat
        )

    done = pruned()

    assert (done.ranges, done.incidents, done.audit_events, done.heartbeats, done.total) == (2, 2, 1, 1, 6)
    assert set(Range.objects.values_list("verdict", flat=True)) == {"missed", "skipped"}
    assert set(Incident.objects.values_list("pk", flat=True)) == {unsent.pk, still_open.pk}
    assert Delivery.objects.count() == 1
    assert Heartbeat.objects.get().instance == "alive"
    assert done.described() == "2 range(s), 2 incident(s), 1 audit event(s), 1 heartbeat(s)"


def test_dry_run_counts_what_the_real_one_deletes(entry):
    """And deletes nothing."""
    for days in range(31, 200):
        make_run(entry, days, "failed" if days % 3 else "succeeded")

    counted = pruned(dry_run=True)
    untouched = Run.objects.count()
    done = pruned()

    assert untouched == 169
    assert counted.runs == done.runs == {"succeeded": 55, "failed": 13}  # the newest success stays
    assert Run.objects.count() == 169 - 68
    assert pruned(dry_run=True).total == 0


def test_transactions_are_small_and_leave_room_between_them(entry):
    """A job's own writes must not wait for a night's worth of deleting."""
    for days in range(40, 240):
        make_run(entry, days)
    pauses = []

    prune(NOON, by="ann", pause=pauses.append)

    assert len(pauses) >= 3
    assert Run.objects.count() == 1


def test_batches_grow_while_they_are_quick_and_shrink_when_they_are_not():
    """Rows with a megabyte of output each are another matter than empty ones."""
    moments = iter([0, 0.01, 1, 1.3, 2, 2.3, 3, 3.3, 4, 4.3, 5, 5.07])
    pauses = []
    pace = Pace(None, pauses.append, lambda: next(moments))
    sizes = []

    for _ in range(6):
        pace.timed(lambda: 1)
        sizes.append(pace.size)

    assert sizes == [100, 50, 25, 12, SMALLEST, SMALLEST]
    assert pace.longest_seconds == pytest.approx(0.3)
    assert pauses[0] == pytest.approx(0.01)


def test_two_at_once_share_the_work(entry):
    """From another host, in the middle of it."""
    for days in range(40, 240):
        make_run(entry, days)
    others = []

    def another(seconds):
        if not others:
            others.append(None)
            others[0] = prune(NOON, by="ann", pause=lambda seconds: None)

    mine = prune(NOON, by="ann", pause=another)

    assert mine.runs["succeeded"] + others[0].runs["succeeded"] == 199
    assert min(mine.runs["succeeded"], others[0].runs["succeeded"]) > 0
    assert Run.objects.count() == 1


def test_killed_in_the_middle_leaves_whole_batches(entry):
    """What is gone is gone with all that hung on it; the next one does the rest."""

    class Killed(Exception):
        pass

    def kill(seconds):
        raise Killed

    for days in range(40, 240):
        make_run(entry, days)

    with pytest.raises(Killed):
        prune(NOON, by="ann", pause=kill)
    after = Run.objects.count()
    pruned()

    assert 1 < after < 200
    assert Run.objects.count() == Attempt.objects.count() == OutputChunk.objects.count() == 1


def test_run_that_was_reopened_meanwhile_stays(entry, monkeypatch):
    """Between the look and the lock somebody retries it."""
    make_run(entry, 1)
    run = make_run(entry, 390, "failed")
    module = sys.modules["crons.ledger.maintenance.pruning"]
    real = module._delete_runs

    def reopen_first(*args):
        Run.objects.filter(pk=run.pk).update(state="due", verdict="")
        return real(*args)

    monkeypatch.setattr(module, "_delete_runs", reopen_first)

    assert pruned().total == 0
    assert run.pk in left()


def test_budget_ends_it_between_two_batches(entry):
    """The rest is for the next night."""
    for days in range(40, 240):
        make_run(entry, days)
    moments = iter(range(100_000))

    done = pruned(budget=timedelta(seconds=3), clock=lambda: next(moments))

    assert not done.finished
    assert 0 < done.total < 199
    assert Run.objects.count() == 200 - done.total


@pytest.mark.sqlite
def test_it_reads_along_indexes(entry):
    """A full scan of a million runs each night, for the few that go."""
    runs = Run.objects.filter(doomed(NOON, conf.keep), pk__in=range(LARGEST))

    plans = [query.explain() for query in (window_of(NOON, (LONG_AGO, 7))[:50], runs, old_ranges(NOON, conf.keep))]

    assert "SEARCH crons_run USING COVERING INDEX crons_run_planned (planned_at>? AND planned_at<?)" in plans[0]
    assert "B-TREE" not in plans[0]
    assert "SEARCH crons_run USING INTEGER PRIMARY KEY (rowid=?)" in plans[1]
    assert "crons_run_entry_planned (entry_id=? AND planned_at>?)" in plans[1]
    assert "(entry_id=? AND slot_at>?)" in plans[1]
    assert "(run_id=?)" in plans[1]
    assert "SEARCH crons_range USING INDEX crons_range_" in plans[2]
    assert not [line for plan in plans for line in plan.splitlines() if "SCAN crons_r" in line or "SCAN U" in line]


@pytest.mark.postgres
def test_it_reads_along_indexes_on_postgresql(entry, make_entry):
    """The same, among rows that it has counted: of an empty table it takes whichever index lies in fewer pages."""
    fill([entry, *(make_entry(f"job{n}") for n in range(4))], 20_000, NOON)
    keep = dict.fromkeys(conf.keep, 80 * DAY)
    ids = list(Run.objects.order_by("pk").values_list("pk", flat=True)[:50])

    window = window_of(NOON - 80 * DAY, (NOON - 130 * DAY, 7))[:50].explain()
    runs = Run.objects.filter(doomed(NOON, keep), pk__in=ids).explain()
    ranges = old_ranges(NOON, keep).explain()

    assert "crons_run_planned" in window
    assert not re.search(r"^ *(-> +)?Sort +\(", window, re.MULTILINE)  # an Incremental Sort is of equal moments only
    # What it asks of each of these fifty ends at the first row found: for that it may read as it likes.
    assert "Index Scan using crons_run_pkey on crons_run " in runs
    assert "Seq Scan on crons_range" not in ranges


# The command, the settings, the built-in job


def test_it_is_audited_when_it_deleted_something(entry, monkeypatch):
    """Who made the old runs go away?"""
    monkeypatch.setattr(ledger, "database_now", lambda: NOON)
    make_run(entry, 390)
    make_run(entry, 1)

    api.prune(by="ann", dry_run=True)
    api.prune(by="ann")
    api.prune(by="ann")

    begun, ended = AuditEvent.objects.order_by("pk")
    assert (begun.verb, begun.actor, begun.subject_type, begun.after) == ("prune begun", "ann", "ledger", None)
    assert (ended.verb, ended.actor, ended.subject_type) == ("prune", "ann", "ledger")
    assert ended.after["runs"] == {"succeeded": 1}


def test_who_had_it_begun_is_audited_also_where_it_is_killed(entry, monkeypatch):
    """The first batch is gone, and nobody is left to say how many went."""
    monkeypatch.setattr(ledger, "database_now", lambda: NOON)
    make_run(entry, 390)
    make_run(entry, 1)

    def kill(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(api.ledger, "prune", partial(api.ledger.prune, pause=kill))
    with pytest.raises(KeyboardInterrupt):
        api.prune(by="ann")

    assert Run.objects.count() == 1
    assert [(event.verb, event.actor) for event in AuditEvent.objects.all()] == [("prune begun", "ann")]


def test_verb_says_what_went(entry, monkeypatch):
    """For people, and for programs."""
    monkeypatch.setattr(ledger, "database_now", lambda: NOON)
    make_run(entry, 390, "timed_out")
    make_run(entry, 389)
    make_run(entry, 1)
    out, as_json, again = io.StringIO(), io.StringIO(), io.StringIO()

    call_command("crons", "prune", "--dry-run", stdout=out)
    call_command("crons", "prune", "--json", stdout=as_json)
    call_command("crons", "prune", stdout=again)

    assert out.getvalue() == "would go: 1 succeeded run(s), 1 timed out run(s)\n"
    row = json.loads(as_json.getvalue())
    assert (row["runs"], row["dry_run"], row["finished"]) == ({"succeeded": 1, "timed_out": 1}, False, True)
    assert again.getvalue() == "deleted: nothing\n"


@pytest.mark.parametrize(
    ("keep", "told"),
    [
        (
            {"succeded": DAY},
            "CRONS['KEEP']['succeded'] is unknown. Did you mean 'succeeded'? Known: audit, cancelled, ",
        ),
        ({"failed": 30}, "CRONS['KEEP']['failed'] is 30, expected a positive timedelta or None."),
        ({"failed": -DAY}, "CRONS['KEEP']['failed'] is datetime.timedelta(days=-1), expected a positive timedelta "),
    ],
)
def test_setting_that_cannot_work_is_named(settings, keep, told):
    """Before a night in which the wrong rows go."""
    settings.CRONS = {"KEEP": keep}

    with pytest.raises(InvalidSetting) as refused:
        _ = conf.keep

    assert str(refused.value).startswith(told)
    assert [problem[:40] for problem in conf.problems()] == [told[:40]]


def test_built_in_job_is_declared_as_the_setting_says(settings, empty_registry):
    """Each night, or never where all is kept for ever."""
    settings.CRONS = {"KEEP": None}
    declare()
    none = dict(empty_registry.entries)
    settings.CRONS = {}
    declare()

    entry = empty_registry.entries[PRUNE]
    assert none == {}
    assert entry.schedule.text == "17 3 * * *"
    assert empty_registry.get(PRUNE).policy.idempotent


def test_built_in_job_prints_what_it_did(monkeypatch, capsys):
    """Its output is its report."""
    from crons.sources import built_in

    monkeypatch.setattr(built_in.ledger, "prune", lambda now, **options: Pruned(runs={"failed": 2}, finished=False))

    built_in.prune()

    assert (
        capsys.readouterr().out == "deleted: 2 failed run(s); 1:00:00 were not enough: the rest goes at the next slot\n"
    )
