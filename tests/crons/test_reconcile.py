"""Reconciling: a restored database runs nothing twice, loses nothing unsaid, and issues no token twice."""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from crons import api, ledger
from crons.exceptions import Refused
from crons.ledger import reconcile
from crons.models import Attempt, AuditEvent, Entry, Heartbeat, Range, Run
from tests.crons.conftest import NOON, minutes

BACKUP = NOON + minutes(7)
STOPPED = NOON + minutes(28)
NOW = NOON + minutes(61)
pytestmark = pytest.mark.django_db


def reconciled(since=BACKUP, until=STOPPED, now=NOW, **options):
    """Reconcile as ann."""
    return reconcile(since, until, now, by="ann", **options)


def plan(now):
    """Record what is due, as the scheduler does after it was switched on; give the slots, in minutes after noon."""
    ledger.record(now, "serve")
    slots = Run.objects.filter(recorded_at=now).order_by("entry__name", "slot_at").values_list("entry__name", "slot_at")
    return [(name, round((at - NOON).total_seconds() / 60)) for name, at in slots]


@pytest.fixture
def restored(make_entry, led):
    """A backup of 12:07: the runs of 12:05 are running, and one waits that somebody asked for; lost at 12:28."""
    make_entry("charge")
    make_entry("tidy", idempotent=True)
    led.record(NOON + minutes(5))
    led.begin(NOON + minutes(5))
    ledger.request("charge", NOON + minutes(6), "api", by="bob", key="k")
    ledger.request("tidy", NOON + minutes(6), "api", by="bob", key="l")


def test_what_was_running_or_due_is_lost_and_only_idempotent_jobs_run_again(restored, led):
    """The lost database may have run it; whoever it charged must not be charged twice."""
    charged, tidied = (Run.objects.get(entry__name=name, kind="slot") for name in ("charge", "tidy"))
    asked, asked_tidy = (Run.objects.get(request_key=key) for key in "kl")

    done = reconciled()

    for run in (charged, asked):
        run.refresh_from_db()
    assert (charged.state, charged.verdict, charged.active_key) == ("done", "lost", None)
    restored_at = "a backup of 2026-03-02 12:07:00 UTC was restored"
    assert charged.detail == f"{restored_at}, and it was running then: it may or may not have run to its end"
    assert (asked.state, asked.verdict, asked.reason) == ("done", "lost", "restored")
    assert asked.detail == f"{restored_at}, in which it was due: it may have run since"
    assert done.lost_runs == [(charged.pk, "charge"), (asked.pk, "charge")]
    assert done.runs_to_repeat == [(tidied.pk, "tidy"), (asked_tidy.pk, "tidy")]
    assert done.lost_attempts == 2
    assert {each.entry for each in led.begin(NOW)} == {"tidy"}


def test_slots_up_to_the_stop_are_written_off_and_those_after_it_are_caught_up(restored):
    """12:10 to 12:25 may have run; 12:30 to 13:00 cannot have: one of them is caught up, as with any absence."""
    done = reconciled()
    written = Range.objects.get()

    assert (written.entry.name, written.verdict, written.reason, written.count) == ("charge", "lost", "restored", 4)
    assert (written.first_at, written.last_at) == (NOON + minutes(10), NOON + minutes(25))
    assert written.trigger == "reconcile"
    assert done.slots_written_off == {"charge": 4}
    assert done.slots_to_catch_up == {"tidy": 4}
    assert plan(NOW) == [("charge", 60), ("tidy", 60)]
    assert Range.objects.filter(entry__name="charge", reason="catch_up").get().first_at == NOON + minutes(30)


def test_until_now_nothing_is_caught_up(restored):
    """Nobody knows when the lost database stopped."""
    reconciled(until=NOW)

    assert plan(NOW) == [("tidy", 60)]
    assert plan(NOON + minutes(65)) == [("charge", 65), ("tidy", 65)]


def test_idempotent_jobs_are_caught_up_as_they_declare(make_entry):
    """Running it twice does no harm; not at all might."""
    make_entry("all", idempotent=True, catch_up="all")
    make_entry("none", idempotent=True, catch_up="none")

    reconciled(since=NOON)

    planned = plan(NOW)
    assert [slot for name, slot in planned if name == "all"] == list(range(5, 65, 5))
    assert [slot for name, slot in planned if name == "none"] == [60]  # on time


def test_tokens_go_on_above_any_that_were_issued(restored, led):
    """A store that has seen a higher token would refuse every attempt from now on, or take an old one's."""
    before = Attempt.objects.latest("pk").pk
    run_before = Run.objects.latest("pk").pk

    done = reconciled()
    [begun] = led.begin(NOW)

    gap = 1_000_000 + 10_000 * 54 * 60
    assert done.tokens_above == before + gap
    assert begun.attempt == before + gap + 1
    assert ledger.request("charge", NOW, "api").pk == run_before + gap + 1


def test_tokens_of_rows_that_were_pruned_count_too(make_entry, led):
    """The newest id need not be in the table any more."""
    make_entry("charge")
    led.record(NOON + minutes(5))
    [begun] = led.begin(NOON + minutes(5))
    led.finish(begun, NOON + minutes(5))
    Attempt.objects.all().delete()

    done = reconciled(dry_run=True)

    assert done.tokens_above == begun.attempt + 1_000_000 + 10_000 * 54 * 60


def test_dry_run_says_the_same_and_changes_nothing(restored):
    """The operator looks first."""
    runs = list(Run.objects.order_by("pk").values())
    entries = list(Entry.objects.order_by("pk").values())

    told = reconciled(dry_run=True)

    assert list(Run.objects.order_by("pk").values()) == runs
    assert list(Entry.objects.order_by("pk").values()) == entries
    assert (Range.objects.count(), AuditEvent.objects.filter(verb="reconcile").count()) == (0, 0)
    assert told == reconciled()


def test_a_second_time_finds_nothing_left(restored):
    """The connection was cut before the answer came."""
    reconciled()
    ranges = Range.objects.count()

    again = reconciled()

    assert (again.lost_attempts, again.lost_runs, again.slots_written_off) == (0, [], {})
    assert Range.objects.count() == ranges


def test_database_that_went_on_is_refused(restored, led):
    """Production with the wrong --since would lose what is due."""
    led.record(NOON + minutes(10))

    with pytest.raises(Refused) as refused:
        reconciled()

    assert str(refused.value) == (
        "this database has a run of 2026-03-02 12:10:00 UTC, so it is no backup of 2026-03-02 12:07:00 UTC, or it has "
        "run since it was restored. Nothing was changed. Give --since the moment at which the backup was made, not "
        "before its newest run; a database that was not restored needs no reconciling."
    )
    assert not Range.objects.exists()
    assert Run.objects.filter(state="done").count() == 0


@pytest.mark.parametrize(("since", "until"), [(NOW + minutes(1), NOW), (BACKUP, NOON), (BACKUP, NOW + minutes(1))])
def test_moments_that_do_not_follow_each_other_are_refused(restored, since, until):
    """A zone was left out."""
    with pytest.raises(Refused, match=r"do not follow each other up to now, 2026-03-02 13:01:00 UTC: give the moment"):
        reconciled(since=since, until=until)


def test_entry_that_cannot_be_read_is_named_and_left(make_entry):
    """It stays parked, with nothing lost."""
    make_entry("broken", schedule="61 * * * *")
    make_entry("charge")

    done = reconciled(since=NOON)

    assert list(done.unreadable) == ["broken"]
    assert Entry.objects.get(name="broken").accounted_until == NOON
    assert done.slots_written_off == {"charge": 5}


def test_retired_entries_and_paused_ones(make_entry):
    """What nobody declares has no slots; a pause may have been ended since."""
    make_entry("retired")
    make_entry("paused")
    Entry.objects.filter(name="retired").update(retired_at=NOON)
    Entry.objects.filter(name="paused").update(paused_at=NOON)

    done = reconciled(since=NOON)

    assert done.slots_written_off == {"paused": 5}


def test_heartbeats_of_the_backup_go(restored):
    """They would be schedulers that are silent."""
    beat = {"kind": "serve", "host": "h", "pid": 1, "boot_id": "b", "started_at": NOON, "beat_at": NOON}
    Heartbeat.objects.create(instance="old", expected_by=BACKUP, **beat)

    assert reconciled().heartbeats == 1
    assert not Heartbeat.objects.exists()


def test_it_is_audited(restored):
    """Whoever asks why 12:10 did not run finds who decided it."""
    done = reconciled()

    event = AuditEvent.objects.get(verb="reconcile")
    assert (event.verb, event.actor, event.at) == ("reconcile", "ann", NOW)
    assert event.after["slots_written_off"] == {"charge": 4}
    assert event.after["lost_runs"] == [pk for pk, _ in done.lost_runs]
    assert event.after["from"] == "2026-03-02T12:07:00+00:00"


# The command


@pytest.fixture
def at_one(monkeypatch):
    """One minute past one."""
    monkeypatch.setattr(ledger, "database_now", lambda: NOW)


def test_verb_says_what_became_of_what(restored, at_one, monkeypatch):
    """Also while switched off, which is when it belongs."""
    monkeypatch.setenv("CRONS_ENABLED", "0")
    out, as_json = io.StringIO(), io.StringIO()
    args = ("--since", BACKUP.isoformat(), "--until", STOPPED.isoformat())
    lost, asked = (run.pk for run in Run.objects.filter(entry__name="charge").order_by("pk"))
    again, asked_tidy = (run.pk for run in Run.objects.filter(entry__name="tidy").order_by("pk"))
    above = Attempt.objects.latest("pk").pk + 1_000_000 + 10_000 * 54 * 60

    call_command("crons", "reconcile", *args, "--dry-run", stdout=out)
    call_command("crons", "reconcile", *args, "--json", stdout=as_json)

    assert out.getvalue().splitlines() == [
        f"run {lost} of charge: lost, it may have run since the backup",
        f"run {asked} of charge: lost, it may have run since the backup",
        f"run {again} of tidy: will be run again, the job is idempotent",
        f"run {asked_tidy} of tidy: will be run again, the job is idempotent",
        "charge: 4 slot(s) lost, they may have run",
        "tidy: 4 slot(s) are caught up as the job declares, it is idempotent",
        "2 attempt(s) were running in the backup: lost",
        f"tokens go on above {above}",
        "Nothing was changed: this was a dry run.",
    ]
    row = json.loads(as_json.getvalue())
    assert (row["lost_attempts"], row["tokens_above"], row["dry_run"]) == (2, above, False)


def test_running_scheduler_is_in_the_way(restored, at_one):
    """It would begin, at the same moment, what is being written off."""
    beat = {"kind": "serve", "host": "elsewhere", "pid": 7, "boot_id": "b", "started_at": NOON, "beat_at": NOW}
    Heartbeat.objects.create(instance="new", expected_by=NOW + timedelta(seconds=30), **beat)

    with pytest.raises(CommandError) as refused:
        call_command("crons", "reconcile", "--since", BACKUP.isoformat())

    assert str(refused.value) == (
        "serve on elsewhere (pid 7) is running on this database: stop it first, and set CRONS_ENABLED=0 until this is "
        "done."
    )
    assert not AuditEvent.objects.filter(verb="reconcile").exists()


def test_api_takes_now_for_the_stop(restored, at_one):
    """The careful choice is the one that needs no knowledge."""
    assert api.reconcile(BACKUP, by="ann", dry_run=True).slots_written_off == {"charge": 11}
