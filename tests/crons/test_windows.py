"""A job with window= begins only while that is open: slots outside, overdue ones and retries wait until it opens."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from crons import Context, ToBeContinued, ledger
from crons.exceptions import InvalidJob
from crons.executors.process.wire import begun_as_json, begun_from_json
from crons.executors.runner import call
from crons.jobs.policies import Policy, Retry
from crons.jobs.windows import Window
from crons.models import Entry, Run
from crons.verdicts import Ending, Outcome
from crons.watch.waiting import waiting
from tests.crons.conftest import NOON, minutes

NIGHT = Window("22:00", "06:00")
BERLIN = "Europe/Berlin"
HOUR = minutes(60)
DAILY = "0 12 * * *"


def local(text: str, zone: str = BERLIN) -> datetime:
    """Return the moment that a wall clock shows so; the first of two."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def at(hours: float) -> datetime:
    """Return the moment so many hours after the noon of the first slot's day, which is 12:00 in UTC."""
    return NOON + hours * HOUR


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("22:00", "22:00"), "Window('22:00', '22:00') closes when it opens: leave it out for any time."),
        (("6:00", "06:00"), "Window('06:00', '06:00') closes when it opens"),
        (("24:00", "06:00"), "Window(opens='24:00'): expected an hour and minute such as '22:00'."),
        (("22:00", "06:60"), "Window(closes='06:60'): expected an hour and minute such as '22:00'."),
        (("22", "06:00"), "Window(opens='22'): expected"),
        ((" 22:00", "06:00"), "Window(opens=' 22:00'): expected"),
        (("٢٢:٠٠", "06:00"), "Window(opens='٢٢:٠٠'): expected"),
        ((22, "06:00"), "Window(opens=22): expected"),
    ],
)
def test_what_is_no_window_is_refused(given, message):
    """At import, not at 22:00."""
    with pytest.raises(InvalidJob, match="^" + re.escape(message)):
        Window(*given)


@pytest.mark.parametrize(
    ("window", "moment", "opens"),
    [
        (NIGHT, "2026-03-02 21:59:59.999999", "2026-03-02 22:00"),
        (NIGHT, "2026-03-02 22:00", "2026-03-02 22:00"),
        (NIGHT, "2026-03-03 00:00", "2026-03-03 00:00"),
        (NIGHT, "2026-03-03 05:59:59.999999", "2026-03-03 05:59:59.999999"),
        (NIGHT, "2026-03-03 06:00", "2026-03-03 22:00"),
        (Window("9:00", "17:30"), "2026-03-02 08:00", "2026-03-02 09:00"),
        (Window("9:00", "17:30"), "2026-03-02 17:30", "2026-03-03 09:00"),
        (Window("00:00", "00:01"), "2026-03-02 00:01", "2026-03-03 00:00"),
        (Window("00:01", "00:00"), "2026-03-02 00:00", "2026-03-02 00:01"),
    ],
)
def test_opens_and_closes_by_the_wall_clock(window, moment, opens):
    """Its opening belongs to it, its closing does not."""
    assert window.opening(local(moment), ZoneInfo(BERLIN)) == local(opens)
    assert window.is_open(local(moment), ZoneInfo(BERLIN)) == (moment == opens)


@pytest.mark.parametrize(
    ("window", "day", "zone", "changes"),
    [
        # 02:00 to 03:00 is left out.
        (("02:30", "05:00"), "2026-03-29", BERLIN, ["03:00+02:00", "05:00+02:00"]),
        (("01:00", "02:30"), "2026-03-29", BERLIN, ["01:00+01:00", "03:00+02:00"]),
        (("02:10", "02:50"), "2026-03-29", BERLIN, []),
        (("22:00", "06:00"), "2026-03-29", BERLIN, ["06:00+02:00", "22:00+02:00"]),
        # 02:00 to 03:00 comes twice.
        (("02:30", "05:00"), "2026-10-25", BERLIN, ["02:30+02:00", "05:00+01:00"]),
        (("01:00", "02:30"), "2026-10-25", BERLIN, ["01:00+02:00", "02:30+02:00"]),
        (("02:10", "02:50"), "2026-10-25", BERLIN, ["02:10+02:00", "02:50+02:00"]),
        # Midnight is left out.
        (("00:00", "06:00"), "2026-03-29", "Asia/Beirut", ["01:00+03:00", "06:00+03:00"]),
        # The whole day is.
        (("22:00", "06:00"), "2011-12-31", "Pacific/Apia", ["06:00+14:00", "22:00+14:00"]),
    ],
)
def test_opens_and_closes_once_on_days_when_the_clock_changes(window, day, zone, changes):
    """What a wall clock has shown, it has shown; what is left out is so right after."""
    tz = ZoneInfo(zone)
    noon = datetime.fromisoformat(f"{day} 12:00").replace(tzinfo=tz).astimezone(UTC)
    moments = [noon + minutes(10 * number) for number in range(-14 * 6, 12 * 6)]
    that_day = [each for each in moments if each.astimezone(tz).date().isoformat() == day]

    open_at = {each: Window(*window).is_open(each, tz) for each in [*that_day, that_day[0] - minutes(10)]}
    found = [each for each in that_day if open_at[each] != open_at[each - minutes(10)]]

    assert [each.astimezone(tz).isoformat()[11:16] + each.astimezone(tz).isoformat()[19:] for each in found] == changes


@given(
    opens=st.times(),
    closes=st.times(),
    moment=st.datetimes(datetime(2000, 1, 1), datetime(2036, 1, 1)).map(lambda each: each.replace(tzinfo=UTC)),  # noqa: DTZ001
    zone=st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia"]),
)
def test_the_next_opening_is_the_first(opens, closes, moment, zone):
    """Between a moment that is closed and its opening nothing is open."""
    if opens.strftime("%H:%M") == closes.strftime("%H:%M"):
        return
    window, tz = Window(opens.strftime("%H:%M"), closes.strftime("%H:%M")), ZoneInfo(zone)

    found = window.opening(moment, tz)

    assert window.is_open(found, tz)
    closes = window.closing(found, tz)
    assert found < closes
    assert not window.is_open(closes, tz)
    assert window.is_open(closes - timedelta.resolution, tz)
    assert moment <= found < moment + timedelta(hours=75)
    assert window.opening(found, tz) == found
    if found > moment:
        assert not window.is_open(moment, tz)
        assert not window.is_open(found - timedelta.resolution, tz)
        assert window.opening(moment + (found - moment) / 2, tz) == found


def test_at_the_ends_of_the_calendar_it_does_not_matter():
    """A row may hold any moment."""
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

    for zone in ("America/New_York", "Asia/Tokyo"):
        assert all(NIGHT.opening(each, ZoneInfo(zone)) >= each for each in (first, last))


def test_a_slot_outside_waits_and_is_not_late(led, make_entry):
    """Nothing of it is in the queue until its window opens, and then it is begun at once."""
    make_entry(schedule=DAILY, since=NOON - HOUR, window=NIGHT)
    led.record(NOON)
    run = Run.objects.get()

    assert (run.state, run.slot_at, run.wake_at) == ("due", NOON, at(10))
    assert ledger.agenda(NOON).next_at() == at(10)
    assert led.begin(at(9.99)) == []
    (begun,) = led.begin(at(10))

    run.refresh_from_db()
    assert (run.state, run.late_seconds) == ("running", None)
    assert led.finish(begun, at(11))
    make_entry("late", schedule=DAILY, since=NOON - HOUR, window=NIGHT)
    led.record(NOON)
    led.begin(at(11))
    assert Run.objects.get(entry__name="late").late_seconds == 3600


def test_the_zone_is_the_entry_s(led, make_entry):
    """22:00 in Berlin is 21:00 in UTC."""
    make_entry(schedule=DAILY, since=NOON - 2 * HOUR, window=NIGHT, zone=BERLIN)
    led.record(NOON)

    assert Run.objects.get().wake_at == at(9)


def test_an_overdue_slot_is_not_made_up_for_by_day(led, make_entry):
    """Nothing looked all night: what should have run at 23:00 is begun at 22:00, or the next one in its place."""
    make_entry(schedule="0 23 * * *", since=NOON, window=NIGHT)
    led.record(at(21))
    run = Run.objects.get()

    assert (run.slot_at, run.wake_at) == (at(11), at(34))
    assert led.begin(at(33)) == []
    (begun,) = led.begin(at(34))
    assert begun.run == run.pk
    run.refresh_from_db()
    assert run.late_seconds == 23 * 3600  # it should have begun in its own night


def test_what_found_no_place_until_its_window_closed_waits_for_the_next(led, make_entry):
    """Whoever looks first after the closing postpones it; its place in the queue is the next opening's."""
    make_entry(schedule="0 23 * * *", since=NOON, window=NIGHT)
    led.record(at(11))
    assert led.begin(at(11), room=0) == []

    assert led.begin(at(18)) == []

    assert Run.objects.values_list("state", "wake_at", "tries").get() == ("due", at(34), 0)
    assert len(led.begin(at(34))) == 1


def test_a_message_that_comes_too_late_begins_nothing(led, make_entry):
    """What was sent in time and is taken by no worker until the closing is due again when it opens."""
    make_entry(schedule="0 23 * * *", since=NOON, window=NIGHT, executor="far")
    led.record(at(11))
    (message,) = ledger.send(at(11), {"far": 1})
    jobs = ["heartbeat"]

    late = ledger.begin(at(18), {"far": 1}, jobs, led.instance, only_run=message.run, arrived=True)

    assert late == []
    assert Run.objects.values_list("state", "wake_at", "sends").get() == ("due", at(34), 0)
    assert ledger.send(at(33), {"far": 1}) == []
    (again,) = ledger.send(at(34), {"far": 1})
    assert len(ledger.begin(at(34), {"far": 1}, jobs, led.instance, only_run=again.run, arrived=True)) == 1


def test_what_is_sent_again_is_sent_while_it_is_open(led, make_entry):
    """A broker that is back by day gets it in the evening."""
    make_entry(schedule="0 5 * * *", since=NOON, window=NIGHT, executor="far")
    led.record(at(17))
    assert len(ledger.send(at(17), {"far": 1})) == 1

    assert ledger.send(at(19), {"far": 1}) == []

    assert Run.objects.values_list("state", "wake_at", "sends").get() == ("due", at(34), 0)


def test_what_came_back_from_a_worker_is_late_since_the_opening(led, make_entry):
    """A broker that is away for a minute at 22:00 is no run that waits since noon."""
    make_entry(schedule=DAILY, since=NOON - HOUR, window=NIGHT, executor="far")
    led.record(NOON)
    (message,) = ledger.send(at(10), {"far": 1})
    ledger.requeue([message.run], at(10) + minutes(1), "no broker")

    assert waiting(at(10) - minutes(1)) == []
    (found,) = waiting(at(10) + minutes(2))

    assert (found.run_id, found.since) == (message.run, at(10))


@pytest.mark.parametrize(("fails_at", "again_at"), [(11, 12), (17.5, 34)])
def test_a_retry_outside_waits_as_well(led, make_entry, fails_at, again_at):
    """A job that failed at half past five is not tried again at half past six."""
    make_entry(schedule="0 23 * * *", since=NOON, window=NIGHT, retry=Retry(1, HOUR))
    led.record(at(11))
    (begun,) = led.begin(at(11))
    led.finish(begun, at(fails_at), Outcome.FAILED, "no")

    assert Run.objects.values_list("state", "wake_at").get() == ("waiting", at(again_at))


def test_a_newer_slot_takes_the_place_of_one_that_waits(led, make_entry):
    """One run begins at the opening: the newest."""
    make_entry(schedule="0 * * * *", since=NOON, window=NIGHT)
    for hour in (1, 2, 3):
        led.record(at(hour))
        led.begin(at(hour))

    waits = [(run.slot_at, run.verdict, run.reason, run.wake_at) for run in Run.objects.order_by("slot_at")]
    assert waits == [
        (at(1), "missed", "catch_up", None),
        (at(2), "missed", "catch_up", None),
        (at(3), "", "", at(10)),
    ]
    led.record(at(10))
    (begun,) = led.begin(at(10))
    assert begun.slot_at == at(10)


def test_with_catch_up_all_each_runs_in_turn(led, make_entry):
    """From the opening on, oldest first."""
    make_entry(schedule="0 * * * *", since=NOON, window=NIGHT, catch_up="all")
    for hour in (1, 2):
        led.record(at(hour))
    begun_at = []
    for minute in range(2):
        (begun,) = led.begin(at(10) + minutes(minute))
        begun_at.append(begun.slot_at)
        led.finish(begun, at(10) + minutes(minute))

    assert begun_at == [at(1), at(2)]


def test_the_deadline_wins(led, make_entry):
    """A slot that may not begin later than an hour after its moment is missed then, not at the opening."""
    make_entry(schedule=DAILY, since=NOON - HOUR, window=NIGHT, deadline=HOUR)
    led.record(NOON)
    led.begin(at(1.01))

    assert Run.objects.values_list("verdict", "reason").get() == ("missed", "not_started")
    assert Run.objects.get().detail.startswith("its window opens at 2026-03-02 22:00:00")


def test_what_somebody_asks_for_begins_at_once(led, make_entry):
    """By hand, again or after all: whoever asks decides when, and the retries of that do not wait either."""
    make_entry(schedule=DAILY, since=NOON - 25 * HOUR, window=NIGHT, retry=Retry(1), overlap="allow")
    by_hand = ledger.request("heartbeat", NOON, "test", by="ann")
    (begun,) = led.begin(NOON)
    assert begun.run == by_hand.pk
    led.finish(begun, NOON, Outcome.FAILED, "no")
    assert Run.objects.get(pk=by_hand.pk).wake_at == NOON + minutes(1)
    ledger.request_cancel(by_hand.pk, NOON, reason="enough")

    filled = ledger.backfill("heartbeat", at(-24), at(-23), NOON, by="ann")
    assert filled == [at(-24)]
    assert [each.slot_at for each in led.begin(NOON)] == [at(-24)]


def test_an_entry_whose_zone_cannot_be_read_does_not_begin(led, make_entry):
    """Where nobody knows what time it is there, its window is closed; others go on."""
    make_entry(schedule="0 23 * * *", since=NOON, window=NIGHT)
    make_entry("other", schedule="0 23 * * *", since=NOON)
    led.record(at(11))
    Entry.objects.filter(name="heartbeat").update(zone="Europe/Atlantis")

    assert [each.job for each in led.begin(at(11))] == ["other"]


def test_without_a_window_nothing_is_kept_of_one():
    """Rows that were written before windows were stay as they are."""
    assert "window" not in Policy().as_json()
    assert Policy.from_json(Policy(window=NIGHT).as_json()).window == NIGHT


@pytest.fixture
def nightly(led, make_entry):
    """A run that has worked since 23:00."""
    make_entry(schedule="0 23 * * *", since=NOON, window=NIGHT, retry=Retry(1, HOUR), idempotent=True)
    led.record(at(11))
    (begun,) = led.begin(at(11))
    return begun


def state():
    return Run.objects.order_by("pk").values_list("state", "wake_at", "verdict", "tries").first()


@pytest.mark.parametrize("stops_at", [17.9, 18, 18.5])
def test_what_stops_at_its_windows_end_goes_on_the_next_night(led, nightly, stops_at):
    """The same run, with its key; also where it stopped a little before, or after a long last batch."""
    assert nightly.closes_at == at(18)

    led.finish(nightly, at(stops_at), Outcome.CONTINUED, "3 of 7 done")

    assert state() == ("waiting", at(34), "", 1)
    assert Run.objects.get().detail == "try 1 continued: 3 of 7 done"
    assert led.begin(at(33)) == []
    (again,) = led.begin(at(34))
    assert (again.run, again.key, again.number, again.closes_at) == (nightly.run, nightly.key, 2, at(42))
    led.finish(again, at(35))
    assert state() == ("done", None, "succeeded", 2)


def test_nights_of_work_use_up_no_retries(led, nightly):
    """A failure in the third night is tried again as one in the first would be, and then no more."""
    begun = nightly
    for night in (1, 2):
        led.finish(begun, at(18 + 24 * (night - 1)), Outcome.CONTINUED, "more to do")
        (begun,) = led.begin(at(10 + 24 * night))
    led.finish(begun, at(59), Outcome.FAILED, "no")

    assert state() == ("waiting", at(60), "", 3)
    (begun,) = led.begin(at(60))
    led.finish(begun, at(61), Outcome.FAILED, "no")
    assert state() == ("done", None, "failed", 4)


def test_the_next_nights_slot_leaves_the_night_to_the_run_that_goes_on(led, nightly):
    """Two of them at once would be overlap; which of them is skipped is no matter of chance."""
    led.finish(nightly, at(18), Outcome.CONTINUED, "more to do")
    (again,) = led.begin(at(34))
    led.record(at(35))

    assert led.begin(at(35)) == []

    assert again.run == nightly.run
    assert list(Run.objects.order_by("pk").values_list("verdict", "reason")) == [("", ""), ("skipped", "overlap")]


def test_what_somebody_stops_does_not_go_on(led, nightly):
    """The job may have noticed its window's end before it noticed that."""
    ledger.request_cancel(nightly.run, at(17.9), reason="enough", by="ann")
    led.finish(nightly, at(18), Outcome.CONTINUED, "more to do")

    assert state() == ("done", None, "cancelled", 1)


def test_a_window_that_is_gone_meanwhile_holds_nobody_up(led, nightly):
    """Its run goes on at once then: nothing says that it should wait."""
    Entry.objects.update(policy={})
    led.finish(nightly, at(18), Outcome.CONTINUED, "more to do")

    assert state() == ("waiting", at(18), "", 1)


def test_nothing_bounds_what_has_no_window_or_was_asked_for(led, make_entry):
    """Whoever types it by day wants it done by day."""
    make_entry(schedule=DAILY, since=NOON, window=NIGHT)
    make_entry("other", schedule=DAILY, since=NOON)
    for name in ("heartbeat", "other"):
        ledger.request(name, NOON, "test", by="ann")

    assert [begun.closes_at for begun in led.begin(NOON)] == [None, None]


def _context(closes_at):
    return Context("entry", "job", "k", 1, 1, "slot", "test", NOON, NOON, NOON, closes_at=closes_at)


def test_a_job_says_that_it_is_to_be_continued():
    """Its words stand with the attempt, and no traceback: nothing is wrong."""

    def job(context):
        if context.should_stop:
            raise ToBeContinued("3 of 7 done")

    assert call(job, _context(NOON)) == Ending(Outcome.CONTINUED, "3 of 7 done")
    assert call(job, _context(timezone.now() + HOUR)).outcome == Outcome.SUCCEEDED
    assert call(job, _context(None)).outcome == Outcome.SUCCEEDED


def test_without_a_window_nothing_says_when_it_would_go_on():
    """Else it would begin again at once, and so all day."""

    def job(context):
        raise ToBeContinued("3 of 7 done")

    ending = call(job, _context(None))

    assert ending.outcome == Outcome.FAILED
    assert ending.error.rstrip().endswith("ToBeContinued: 3 of 7 done")


def test_the_moment_passes_to_the_jobs_process(nightly):
    """As JSON, as all of it."""
    sent = json.loads(json.dumps(begun_as_json(nightly)))

    assert begun_from_json(sent) == nightly


def test_pages_say_that_a_slot_waits_and_until_when(staff, make_entry, led):
    """Else a run that is due for hours looks like a scheduler that is down."""
    now = timezone.now().astimezone(UTC)
    opens = now.replace(second=0, microsecond=0) + timedelta(hours=3)
    window = Window(f"{opens:%H:%M}", f"{opens + HOUR:%H:%M}")
    entry = make_entry("nightly", schedule="* * * * *", since=now - minutes(2), zone="UTC", window=window)
    led.record(now)
    run = Run.objects.get()
    look = staff("view_entry", "view_run", "view_attempt")

    page, of_job, of_run = (
        look.get(url).content.decode() for url in ("/crons/", "/crons/jobs/nightly", f"/crons/runs/{run.pk}")
    )

    assert ledger.slots_of(entry, now, 1).__next__().opens_at == opens
    assert "begins when its window opens" in page
    assert of_job.count("begins when its window opens") > 1
    assert f"A run is begun only from {window} of its zone" in of_job
    assert f"It is begun only from {window}, and waits until that opens: 2 h 5" in of_run
