"""Questions as operators ask them at night, each with its whole answer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crons import Retry, api, cron, job, ledger
from crons.declarations import sync
from crons.declarations.retiring import Retire
from crons.exceptions import Refused, UnknownJob
from crons.jobs import registry
from crons.models import Attempt, Entry, Range, Run
from crons.verdicts import Outcome
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db
FAILED, TIMED_OUT, LOST, CANCELLED = Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.CANCELLED
SECOND = 1 / 60
TRACEBACK = 'Traceback (most recent call last):\n  File "cron.py", line 3\nValueError: no rows for today'


@pytest.fixture
def nothing_else_declared(settings):
    """Only what the test declares."""
    registry.clear()
    settings.CRONJOBS = ()


def deploy(world, minute, schedule="0 * * * *", name="report", retire=Retire.FEW, **options):
    """Declare one job anew, and sync as a deploy does."""
    registry.clear()
    job(cron(schedule), name=name, **options)(lambda: None)
    sync.sync(world.at(minute), retire=retire, by="crons sync")


# What ran.


def test_succeeded_on_time(world, report, answers):
    """Nothing to do, and it says so."""
    world.run(5, 5.2)

    assert world.ask("report", "12:05", 9) == answers.next()


def test_the_newest_slot_where_no_moment_is_given(world, report, answers):
    """Whoever looks at the job, not at a moment, means what it did last."""
    world.run(5, 5.2)
    world.run(10, 10.1)

    assert world.ask("report", minute=11) == answers.next()


def test_late_because_nobody_looked(world, report, make_entry, answers):
    """Late is one thing, the outage that made it so another: from when to when."""
    make_entry("other", schedule="* * * * *")
    Entry.objects.filter(name="report").update(policy={**report.policy, "catch_up": "latest"})
    world.record(3)
    world.record(9)
    begun = {each.entry: each for each in world.begin(9)}
    world.finish(begun["report"], 9.5)

    assert world.ask("report", "12:05", 12) == answers.next()


def test_late_because_it_waited_for_a_place(world, report, make_entry, answers):
    """It was recorded in time: the wait came after."""
    world.record(5)
    (begun,) = world.begin(8)
    world.finish(begun, 9)

    assert world.ask("report", "12:05", 9) == answers.next()


def test_late_because_it_was_paused_meanwhile(world, report, answers):
    """The pause is over and its row is gone: the audit trail knows it."""
    world.record(5)
    ledger.pause("report", world.at(5.5), by="dana", reason="the bank is down")
    ledger.resume("report", world.at(8), by="eve")
    (begun,) = world.begin(9)
    world.finish(begun, 9.5)

    assert world.ask("report", "12:05", 9.9) == answers.next()


def test_failed_with_the_line_that_names_the_error(world, report, answers):
    """The last line of a traceback is what one searches for."""
    world.run(5, 5.2, FAILED, TRACEBACK)

    assert world.ask("report", "12:05", 7) == answers.next()


def test_failed_after_all_its_tries(world, make_entry, answers):
    """Each try is told, and that there will be no more."""
    make_entry("report", retry=Retry(1, wait=timedelta(minutes=1)))
    world.run(5, 5.2, FAILED, TRACEBACK)
    (again,) = world.begin(6.5)
    world.finish(again, 7, FAILED, "ValueError: still none")

    assert world.ask("report", "12:05", 8) == answers.next()


def test_succeeded_on_its_second_try(world, make_entry, answers):
    """The failure before is told beside the success."""
    make_entry("report", retry=Retry(1, wait=timedelta(minutes=1)))
    world.run(5, 5.2, FAILED, TRACEBACK)
    (again,) = world.begin(6.5)
    world.finish(again, 7)

    assert world.ask("report", "12:05", 8) == answers.next()


def test_waits_to_be_tried_again(world, make_entry, answers):
    """It is not over: when is the next try?"""
    make_entry("report", retry=Retry(3, wait=timedelta(minutes=10)))
    world.run(5, 5.2, FAILED, TRACEBACK)

    assert world.ask("report", "12:05", 6) == answers.next()


def test_a_person_had_it_tried_again(world, report, answers):
    """Who asked, why, and what it was before."""
    run = world.run(5, 5.2, FAILED, TRACEBACK)
    ledger.retry(run.pk, world.at(20), by="dana", reason="rows are there now")
    (again,) = world.begin(20)
    world.finish(again, 20.5)

    assert world.ask("report", "12:05", 21) == answers.next()


def test_timed_out(world, report, answers):
    """What it left half done is the question after that."""
    world.run(5, 7, TIMED_OUT, "ran longer than its timeout of 120 s; killed")

    assert world.ask("report", "12:05", 8) == answers.next()


def test_lost_with_its_host(world, report, answers):
    """Nobody can know whether it has run; whoever asks has to look."""
    world.run(5, 6, LOST, "its process (pid 4712) on web1 has vanished")

    assert world.ask("report", "12:05", 8) == answers.next()


def test_cancelled_by_whom(world, report, answers):
    """A name and a reason, not only a word."""
    world.record(5)
    (begun,) = world.begin(5)
    api.cancel(begun.run, by="dana", reason="wrong list")
    world.clock.now = NOON + minutes(6)
    world.finish(begun, 6, CANCELLED, "wrong list (by dana)")

    assert world.ask("report", "12:05", 8) == answers.next()


def test_cancelled_before_it_began(world, report, answers):
    """A whole entry's runs may be stopped at once."""
    world.record(5)
    ledger.cancel_entry("report", world.at(5.5), by="dana", reason="wrong list")

    assert world.ask("report", "12:05", 8) == answers.next()


def test_run_by_hand(world, report, answers):
    """It has no slot; whoever looks at that minute finds it, and its number leads to it."""
    world.at(7.5)
    run = api.run_now("report", by="dana")
    (begun,) = world.begin(7.6)
    world.finish(begun, 7.8)

    assert world.ask("report", run=run.pk, minute=8) == answers.next()
    assert world.ask("report", "12:07", 9) == answers.next()


def test_filled_in_by_a_backfill(world, report, answers):
    """Hours after its time, by whom."""
    Entry.objects.update(accounted_until=NOON + minutes(60), wake_at=NOON + minutes(65))
    world.at(60)
    api.backfill("report", NOON + minutes(5), NOON + minutes(6), by="dana")
    (begun,) = world.begin(61)
    world.finish(begun, 61.5)

    assert world.ask("report", "12:05", 62) == answers.next()


# What did not run.


def test_missed_because_nobody_looked(world, report, make_entry, answers):
    """The outage from its start to its end, and that a newer slot was run instead."""
    make_entry("other", schedule="* * * * *")
    world.record(3)
    world.record(21)

    assert world.ask("report", "12:05", 22) == answers.next()


def test_missed_because_a_newer_slot_took_its_place(world, report, answers):
    """It was recorded and waited: not an outage, but too little room."""
    world.record(5)
    world.record(10)

    assert world.ask("report", "12:05", 11) == answers.next()


def test_missed_by_its_deadline(world, make_entry, answers):
    """A late mail is worse than none."""
    make_entry("report", deadline=timedelta(minutes=2))
    world.record(9)

    assert world.ask("report", "12:05", 10) == answers.next()


def test_missed_because_no_place_came_free_in_time(world, make_entry, answers):
    """Recorded in time, and its deadline passed in the queue."""
    make_entry("report", deadline=timedelta(minutes=2))
    world.record(5)
    world.begin(8, room=0)

    assert world.ask("report", "12:05", 8.5) == answers.next()


def test_skipped_over_a_run_that_still_goes(world, report, answers):
    """Which run, since when, and that it goes on."""
    world.record(5)
    world.begin(5)
    world.record(10)
    world.begin(10)

    assert world.ask("report", "12:10", 12) == answers.next()


def test_skipped_over_a_run_that_has_ended(world, report, answers):
    """Until when it was in the way."""
    world.record(5)
    (begun,) = world.begin(5)
    world.record(10)
    world.begin(10)
    world.finish(begun, 13)

    assert world.ask("report", "12:10", 14) == answers.next()


def test_superseded_by_a_newer_slot(world, make_entry, answers):
    """A retry of yesterday is of no use once today's has succeeded."""
    make_entry("report", retry=Retry(3, wait=timedelta(minutes=10)))
    world.run(5, 5.2, FAILED, TRACEBACK)
    world.run(10, 10.2)
    world.begin(16)

    assert world.ask("report", "12:05", 17) == answers.next()


def test_skipped_in_a_pause_that_goes_on(world, report, answers):
    """Who can be asked, and how it ends."""
    ledger.pause("report", world.at(1), by="dana", reason="the bank is down")
    world.record(5)

    assert world.ask("report", "12:05", 7) == answers.next()


def test_skipped_in_a_pause_that_somebody_ended(world, report, answers):
    """The pause's own row is gone; the range has kept it."""
    ledger.pause("report", world.at(1), by="dana", reason="the bank is down", until=NOON + minutes(60))
    world.record(5)
    ledger.resume("report", world.at(8), by="eve")

    assert world.ask("report", "12:05", 30) == answers.next()


def test_skipped_in_a_pause_of_everything_that_ended_by_itself(world, report, answers):
    """Nobody resumed it: it had an end."""
    ledger.pause_all(world.at(1), by="dana", reason="moving house", until=NOON + minutes(8))
    world.record(9)

    assert world.ask("report", "12:05", 30) == answers.next()


def test_skipped_in_a_pause_of_its_tag(world, report, answers):
    """What holds it is not its own pause: `resume report` would not end it."""
    Entry.objects.update(tags=["billing"])
    ledger.pause_all(world.at(1), by="dana", reason="the bank is down", tag="billing")
    world.record(5)

    assert world.ask("report", "12:05", 7) == answers.next()


def test_a_range_of_before_it_kept_its_pause_asks_the_audit_trail(world, report, answers):
    """Rows that were written by older code say nothing of who it was."""
    ledger.pause("report", world.at(1), by="dana", reason="the bank is down")
    world.record(5)
    Range.objects.update(pause=None)
    ledger.resume("report", world.at(8), by="eve")

    assert world.ask("report", "12:05", 9) == answers.next()


# What was no slot.


def test_never_a_slot(world, report, answers):
    """The nearest ones, and what became of them."""
    world.run(5, 5.2)

    assert world.ask("report", "12:07", 9) == answers.next()


def test_a_minute_that_the_clock_never_showed(world, make_entry, answers):
    """A job at 02:30 in the night in which 02:30 is left out runs right after."""
    make_entry("report", "30 2 * * *", zone="Europe/Berlin")
    entry = Entry.objects.get()
    Entry.objects.update(accounted_until=NOON, wake_at=None)
    world.clock.now = NOON + timedelta(days=27)
    ledger.record(world.clock.now, "serve")

    assert world.ask(entry.name, "2026-03-29T02:30") == answers.next()


def test_a_minute_that_the_clock_showed_twice(world, make_entry, answers):
    """A fixed time is due the first time only; the second is no slot."""
    make_entry("report", "30 2 * * *", zone="Europe/Berlin")
    world.clock.now = NOON.replace(month=10, day=20)
    Entry.objects.update(accounted_until=world.clock.now)

    assert world.ask("report", "2026-10-25T02:30") == answers.next()
    assert world.ask("report", "2026-10-25T02:30+01:00") == answers.next()


def test_a_minute_that_comes_twice_and_is_a_slot_twice(world, make_entry, answers):
    """What follows real time is due in both hours."""
    make_entry("report", "*/30 * * * *", zone="Europe/Berlin")
    world.clock.now = NOON.replace(month=10, day=20)
    world.lives("report")

    assert world.ask("report", "2026-10-25T02:30") == answers.next()
    assert world.ask("report", "2026-10-25T02:30+01:00") == answers.next()


def test_before_it_was_declared(world, make_entry, answers):
    """What fell due before is nobody's debt."""
    make_entry("report", since=NOON + minutes(32))

    assert world.ask("report", "12:05", 40) == answers.next()


def test_after_it_was_retired(world, nothing_else_declared, answers):
    """By which deploy, and how it comes back."""
    deploy(world, 0)
    deploy(world, 70, name="other")

    assert world.ask("report", "14:00", 130) == answers.next()


def test_while_it_was_retired(world, nothing_else_declared, settings, answers):
    """A deploy took it away, the next brought it back."""
    deploy(world, 0)
    deploy(world, 70, name="other")
    settings.CRONS = {"RELEASE": "42"}
    deploy(world, 150)

    assert world.ask("report", "14:00", 160) == answers.next()


def test_under_its_former_name(world, nothing_else_declared, answers):
    """Whoever has the old name in their notes finds the job all the same."""
    deploy(world, 0)
    world.run(60, 60.5)
    deploy(world, 70, name="daily_report", aliases=("report",))

    assert world.ask("report", "13:00", 80) == answers.next()


def test_a_slot_of_the_schedule_of_then(world, nothing_else_declared, settings, answers):
    """13:00 was a slot when it came, though it would be none today."""
    deploy(world, 0)
    world.run(60, 60.5)
    settings.CRONS = {"RELEASE": "42"}
    deploy(world, 70, "30 * * * *")

    assert world.ask("report", "13:00", 80) == answers.next()


def test_no_slot_since_a_deploy_changed_the_schedule(world, nothing_else_declared, settings, answers):
    """Which deploy, and what it was before."""
    deploy(world, 0)
    settings.CRONS = {"RELEASE": "42"}
    deploy(world, 70, "30 * * * *")

    assert world.ask("report", "14:00", 130) == answers.next()


def test_no_slot_since_a_person_changed_the_schedule(world, report, answers):
    """A person's change has a name and a reason."""
    world.at(2)
    api.reschedule("report", "0 * * * *", by="dana", reason="too often")

    assert world.ask("report", "12:05", 7) == answers.next()


def test_a_name_that_nobody_declared(world, report, answers):
    """A typing error at night."""
    with pytest.raises(UnknownJob) as refused:
        world.ask("reprot")

    assert str(refused.value) == answers.next()


def test_what_is_no_moment(world, report, answers):
    """What came, what was expected."""
    with pytest.raises(Refused) as refused:
        world.ask("report", "soon")

    assert str(refused.value) == answers.next()


# What has not ended.


def test_running_now(world, report, answers):
    """For how long, and where to look."""
    world.record(5)
    world.begin(5)
    Attempt.objects.update(lease_until=NOON + minutes(13))

    assert world.ask("report", "12:05", 12) == answers.next()


def test_running_and_silent(world, report, answers):
    """Its lease has ended: nobody has heard of it."""
    world.record(5)
    world.begin(5)
    Attempt.objects.update(lease_until=NOON + minutes(6))

    assert world.ask("report", "12:05", 12) == answers.next()


def test_due_and_every_place_is_taken(world, report, make_entry, settings, answers):
    """By whom, since when; how many places there are is known of the asking process only."""
    settings.CRONS = {"MAX_RUNNING": 2}
    _two_go_on(world, make_entry)

    assert world.ask("report", "12:05") == answers.next()


def test_due_and_more_runs_than_would_here(world, report, make_entry, settings, answers):
    """A host may have settings of its own: those of the asking one must not be said to be its."""
    settings.CRONS = {"MAX_RUNNING": 1}
    _two_go_on(world, make_entry)

    assert world.ask("report", "12:05") == answers.next()


def _two_go_on(world, make_entry):
    for name in ("import", "export"):
        make_entry(name, schedule="1 12 * * *")
    world.record(1)
    world.begin(1)
    world.record(5)
    world.at(7)
    world.lives("report", "import", "export")


def test_due_and_its_group_is_full(world, make_entry, settings, answers):
    """The limit holds over all hosts."""
    settings.CRONS = {"GROUPS": {"db": 1}}
    make_entry("import", schedule="1 12 * * *", group="db")
    make_entry("report", group="db")
    world.record(1)
    world.begin(1)
    world.record(5)
    world.at(7)
    world.lives("report", "import")

    assert world.ask("report", "12:05") == answers.next()


def test_due_and_an_earlier_run_goes_on(world, make_entry, answers):
    """With catch_up="all" it waits for its turn."""
    make_entry("report", catch_up="all")
    world.record(5)
    world.begin(5)
    world.record(10)
    world.lives("report")

    assert world.ask("report", "12:10", 10.5) == answers.next()


def test_due_and_paused(world, report, answers):
    """It was recorded before the pause, and waits for its end."""
    world.record(5)
    ledger.pause("report", world.at(5.5), by="dana", reason="the bank is down", until=NOON + minutes(60))

    assert world.ask("report", "12:05", 7) == answers.next()


def test_due_and_no_host_knows_the_job(world, report, answers):
    """An old release runs: it begins only what it knows."""
    Entry.objects.update(declared_at=NOON, declared_by="sync on web2, release 42")
    world.record(5)
    world.at(7)
    world.lives("import")

    assert world.ask("report", "12:05") == answers.next()


def test_due_and_no_scheduler_runs(world, report, answers):
    """The last look, and what starts one."""
    world.record(5)

    assert world.ask("report", "12:05", 7) == answers.next()


def test_due_and_about_to_begin(world, report, answers):
    """All is well: it is only a moment."""
    world.record(5)
    world.lives("report")

    assert world.ask("report", "12:05", 5.01) == answers.next()


def test_sent_and_taken_by_no_worker(world, make_entry, answers):
    """How often it was sent, and when again."""
    make_entry("report", executor="celery")
    world.record(5)
    ledger.send(world.at(5), {"celery": 5})

    assert world.ask("report", "12:05", 5.3) == answers.next()


def test_due_between_two_ticks(world, report, answers):
    """Where cron calls the tick no process lives in between, and that is well."""
    world.record(5, "tick")
    vouched = {"declared_at": NOON, "declared_by": "tick on web1", "vouched_until": NOON + minutes(60)}
    Entry.objects.update(**vouched)

    assert world.ask("report", "12:05", 5.4) == answers.next()


def test_not_recorded_because_nobody_looks(world, report, answers):
    """Nothing has looked since: the slot has no row yet."""
    assert world.ask("report", "12:05", 9) == answers.next()


def test_not_recorded_though_a_scheduler_runs(world, report, answers):
    """A stalled scheduler looks alive."""
    world.at(9)
    world.lives("report")

    assert world.ask("report", "12:05") == answers.next()


def test_not_recorded_because_no_host_has_its_time_zone(world, report, answers):
    """Minimal containers have no zone data."""
    world.at(9)
    world.lives("report", lacks=["UTC"])

    assert world.ask("report", "12:05") == answers.next()


def test_not_recorded_because_it_is_parked(world, report, answers):
    """A row that somebody garbled."""
    Entry.objects.update(parked_reason="its column policy holds 'x', expected an object in JSON")

    assert world.ask("report", "12:05", 9) == answers.next()


def test_pruned(world, report, settings, answers):
    """It was known once."""
    world.run(5, 5.2)
    world.run(10, 10.2)
    Run.objects.filter(slot_at=NOON + minutes(5)).delete()
    world.clock.now = NOON + timedelta(days=40)
    Entry.objects.update(accounted_until=world.clock.now)

    assert world.ask("report", "2026-03-02T12:05") == answers.next()


def test_a_row_that_somebody_deleted(world, report, answers):
    """Too young to be pruned."""
    world.run(5, 5.2)
    Run.objects.all().delete()

    assert world.ask("report", "12:05", 9) == answers.next()


# What is to come.


def test_to_come(world, report, answers):
    """Who will run it."""
    world.at(7)
    world.lives("report")

    assert world.ask("report", "2026-03-02T12:10") == answers.next()


def test_to_come_while_it_runs(world, report, answers):
    """The run that goes on may be in its way."""
    world.record(5)
    world.begin(5)
    world.at(7)
    world.lives("report")

    assert world.ask("report", "2026-03-02T12:10") == answers.next()


def test_to_come_in_a_pause(world, report, answers):
    """It will be skipped, unless somebody ends the pause."""
    ledger.pause("report", world.at(1), by="dana", reason="the bank is down", until=NOON + minutes(60))

    assert world.ask("report", "2026-03-02T12:10", 7) == answers.next()
    assert world.ask("report", "2026-03-02T13:05") == answers.next()


def test_to_come_and_no_slot(world, report, answers):
    """Nothing will happen at that moment."""
    assert world.ask("report", "2026-03-02T18:03", 7) == answers.next()


def test_beyond_the_calendar(world, report, answers):
    """Nobody plans so far."""
    assert world.ask("report", "9999-12-31T23:55", 7) == answers.next()


def test_only_by_hand(world, make_entry, answers):
    """It has no schedule, and nobody has run it."""
    make_entry("report", schedule="")

    assert world.ask("report", minute=7) == answers.next()


def test_a_day_means_its_first_slot(world, report, answers):
    """Most jobs run once a day: the date says which."""
    world.run(5, 5.2)

    assert world.ask("report", "2026-03-02", 9) == answers.next()
