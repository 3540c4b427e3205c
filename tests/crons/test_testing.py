"""The tools for tests of one's own jobs: due, run, run_recorded, play, clock, sandbox."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core import mail
from django.db import connection, transaction
from django.test import TestCase
from django.utils import timezone

from crons import Retry, api, command, cron, current_context, entry, every, job, ledger, shell
from crons.exceptions import InvalidJob, LedgerUnavailable, Refused, UnknownJob
from crons.jobs import registry
from crons.models import Attempt, Entry, OutputChunk, Range, Run
from crons.sources import sources
from crons.testing import clock, due, play, run, run_recorded, sandbox
from crons.verdicts import Outcome

pytestmark = pytest.mark.usefixtures("crons_sandbox")
BERLIN = "Europe/Berlin"


@pytest.fixture
def report(crons_sandbox):
    """A nightly report in Berlin at half past two, an hour that the clock skips or shows twice."""
    done = []

    @job(cron("30 2 * * *", zone=BERLIN))
    def report(context, *, loud=False):
        done.append(context)
        print("all sold" + "!" * loud)
        return len(done)

    report.done = done
    return report


# ── due ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_reading_that_the_clock_skips_is_due_right_after_the_gap(report):
    """The question that nobody wants to find out at night; it needs no database."""
    found = due("2026-03-29T02:30", zone=BERLIN)

    assert [(slot.entry, slot.local) for slot in found] == [("report", "2026-03-29 03:00:00+02:00")]
    assert found[0].at == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_a_reading_that_comes_twice_is_due_the_first_time(report):
    """Once per night: the second half past two is nothing."""
    assert [slot.entry for slot in due("2026-10-25T02:30+02:00")] == ["report"]
    assert due("2026-10-25T02:30+01:00") == []


def test_a_moment_is_its_whole_minute(report):
    """Cron looks once a minute; a test that says 02:30:17 means that minute."""
    assert [slot.local[11:16] for slot in due("2026-05-05T02:30:17.5", zone=BERLIN)] == ["02:30"]
    assert due("2026-05-05T02:29:59", zone=BERLIN) == []


def test_a_window_lists_all_entries_with_its_start_and_without_its_end(report):
    """Half-open, so that two windows side by side count nothing twice."""
    job(every(hours=12), name="sweep")(lambda: None)

    found = due("2026-05-05T00:00Z", "2026-05-06T00:00Z")

    assert [(slot.entry, slot.local) for slot in found] == [
        ("sweep", "2026-05-05 00:00:00+00:00"),
        ("report", "2026-05-05 02:30:00+02:00"),
        ("sweep", "2026-05-05 12:00:00+00:00"),
    ]


@pytest.mark.parametrize("given", ["tonight", "2026-13-01T00:00Z", 17])
def test_what_is_no_moment_is_refused(given):
    """A typing mistake must not be a test that asks about nothing and passes."""
    with pytest.raises(ValueError, match="is no moment"):
        due(given)


# ── sandbox ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_what_a_test_declares_is_forgotten_and_what_the_project_declares_comes_back(settings):
    """One test's job must not be due in the next one."""
    job(every(hours=1), name="outer")(lambda: None)
    before = dict(registry.entries)

    with sandbox() as inside:
        assert (dict(inside.jobs), dict(inside.entries)) == ({}, {})
        job(every(hours=1), name="inner")(lambda: None)
        with sandbox(empty=False):
            job(every(hours=1), name="innermost")(lambda: None)
            assert list(registry.jobs) == ["inner", "innermost"]
        assert list(registry.jobs) == ["inner"]

    assert registry.entries == before


@pytest.mark.django_db
def test_an_empty_sandbox_reads_no_settings_and_changes_none(settings):
    """pytest-django restores settings in the order of fixtures: one that changed them besides would leave a trace."""
    settings.CRONJOBS = [("0 5 * * *", "os.getcwd")]
    wrapped, before = django_settings._wrapped, list(sources())

    with sandbox():
        assert django_settings._wrapped is wrapped
        job(every(hours=1), name="inner")(lambda: None)
        assert api.sync().created == ["inner"]

    assert before == sources()


# ── run ───────────────────────────────────────────────────────────────────────────────────────────


def test_run_gives_the_job_the_context_of_its_slot_and_touches_no_database(report):
    """Without the django_db marker every query would be an error."""
    with clock.at("2026-03-30T02:30+02:00"):
        result = run(report, loud=True)

    assert (result.outcome, result.returned, result.output) == (Outcome.SUCCEEDED, 1, "all sold!\n")
    assert (result.run, result.raised, result.error) == (None, None, "")
    [context] = report.done
    assert result.context is context
    assert (context.entry, context.job, context.key) == ("report", "report", "report@2026-03-30T00:30:00Z")
    assert (context.number, context.kind, context.trigger) == (1, "slot", "test")
    assert context.until == context.slot_at == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    assert context.since == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert context.args == {"loud": True}
    assert current_context() is None


def test_run_says_what_a_second_attempt_would_be_told(report):
    """Fields of the context are replaced by name; moments may be texts."""
    given = {"number": 2, "key": "report@x", "since": "2026-03-01T00:00Z", "until": "2026-03-02T00:00Z"}

    first, second = run(report, context=given).context, run(report).context

    assert (first.number, first.key, first.since.day, first.until.day, first.slot_at.day) == (2, "report@x", 1, 2, 2)
    assert second.token > first.token


def test_a_field_that_the_context_does_not_have_is_refused(report):
    """`numer=2` would test the first attempt."""
    with pytest.raises(TypeError, match="'numer' is no field to give, expected any of"):
        run(report, context={"numer": 2})
    assert report.done == []


def test_what_a_job_raises_is_kept_as_the_ledger_would(crons_sandbox):
    """A failing job is a result: the test decides what it makes of it."""

    @job(every(hours=1))
    def fail():
        print("before")
        raise LookupError("no such order")

    result = run(fail)

    assert (result.outcome, result.succeeded, result.output) == (Outcome.FAILED, False, "before\n")
    assert result.error.endswith("LookupError: no such order\n")
    with pytest.raises(LookupError, match="no such order"):
        result.reraise()


@pytest.mark.parametrize(("code", "succeeded", "exit_code"), [(0, True, 0), (3, False, 3)])
def test_sys_exit_is_what_it_is_for_the_scheduler(crons_sandbox, code, succeeded, exit_code):
    """sys.exit(0) is a success there, and must not end the test run here."""
    job(None, name="leave")(lambda: sys.exit(code))

    result = run("leave")

    assert (result.succeeded, result.exit_code) == (succeeded, exit_code)
    assert result.succeeded is False or result.reraise() is result


def test_coroutines_commands_and_programs_run_as_they_do_in_production(crons_sandbox, db):
    """All bodies that can be declared can be run."""

    @job(None)
    async def ask():
        await asyncio.sleep(0)  # sleeps: it only gives way
        return "answer"

    command("check", name="look")
    shell(["true"], name="nothing")

    assert run(ask).returned == "answer"
    assert "System check identified" in run("look").output
    assert run("nothing").succeeded


def test_log_records_and_streams_are_told_apart_and_secrets_hidden(crons_sandbox, settings):
    """What `crons log` would show, and the records for exact assertions."""
    settings.SHOP_API_KEY = "s3cret-s3cret-s3cret"

    @job(None)
    def talk():
        print("key", settings.SHOP_API_KEY)
        print("trouble", file=sys.stderr)
        logging.getLogger("shop").warning("only %d left", 3)

    result = run(talk)

    assert result.stream("stdout") == "key ********\n"
    assert result.stream("stderr") == "trouble\n"
    assert result.stream("log").endswith("WARNING shop: only 3 left\n")
    assert [(each.name, each.args) for each in result.records] == [("shop", (3,))]
    assert logging.getLogger("shop").handlers == []


def test_an_entry_brings_its_own_arguments(report):
    """A second entry of one job is run by its name."""
    entry("report_loud", "report", cron("0 6 * * *"), args={"loud": True})

    assert run("report_loud").output == "all sold!\n"
    assert run("report_loud", loud=False).output == "all sold\n"
    assert [context.entry for context in report.done] == ["report_loud", "report_loud"]


def test_what_is_not_declared_or_takes_no_such_argument_is_refused(report):
    """A helper function is no job, and a misspelt argument no test."""
    with pytest.raises(UnknownJob, match=r"'reprot' is not declared\. Did you mean 'report'\?"):
        run("reprot")
    with pytest.raises(UnknownJob, match="'getcwd' is not declared"):
        run(os.getcwd)
    with pytest.raises(InvalidJob, match=r"cannot be called: got an unexpected .*\. Given: .*lound\."):
        run(report, lound=True)
    assert report.done == []


def test_atomic_rolls_back_what_a_failing_job_did(crons_sandbox, db):
    """As in production, minus another attempt that could be in the way."""

    @job(None)
    def half(context):
        with context.atomic():
            User.objects.create(username="half")
            raise LookupError

    @job(None)
    def whole(context):
        with context.atomic():
            User.objects.create(username="whole")

    assert (run(half).succeeded, run(whole).succeeded) == (False, True)
    assert [user.username for user in User.objects.all()] == ["whole"]


def test_the_environment_names_the_attempt_only_while_it_runs(crons_sandbox, monkeypatch):
    """Programs that a job starts find it there."""
    monkeypatch.delenv("CRONS_KEY", raising=False)

    @job(None)
    def tell(context):
        return os.environ["CRONS_KEY"] == context.key

    assert run(tell).returned is True
    assert "CRONS_KEY" not in os.environ


# ── run_recorded ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_a_recorded_run_leaves_the_rows_of_a_real_one(report):
    """History, verdict, output: what pages and commands show can be asserted."""
    result = run_recorded(report, loud=True)

    assert (result.returned, result.output, result.run.verdict) == (1, "all sold!\n", "succeeded")
    row = api.history("report").get()
    assert row == result.run
    assert (row.kind, row.state, row.trigger, row.requested_by, row.args) == (
        "manual", "done", "test", "test", {"loud": True},
    )  # fmt: skip
    attempt = Attempt.objects.get()
    assert result.context.token == attempt.pk
    assert (attempt.number, attempt.outcome, attempt.executor) == (1, "succeeded", "process")
    assert OutputChunk.objects.get().text == "all sold!\n"
    assert registry.jobs["report"].body is report


@pytest.mark.django_db
def test_a_recorded_failure_waits_for_its_retry(crons_sandbox):
    """The policies are the job's own."""

    @job(None, retry=Retry(2, wait=timedelta(minutes=5)))
    def fail():
        raise LookupError("gone")

    with clock.at("2026-05-05T12:00Z") as now:
        result = run_recorded(fail)

        assert (result.run.state, result.run.verdict) == ("waiting", "")
        assert result.run.wake_at == now.now + timedelta(minutes=5)
    assert isinstance(result.raised, LookupError)


@pytest.mark.django_db
def test_the_ledgers_atomic_is_fenced_in_a_recorded_run(crons_sandbox):
    """The job's own write and the ledger's share the test's transaction, and it still decides."""

    @job(None)
    def write(context):
        with context.atomic():
            User.objects.create(username=context.key)
        Attempt.objects.filter(pk=context.token).update(outcome="lost")
        with context.atomic():
            User.objects.create(username="too late")

    result = run_recorded(write)

    assert type(result.raised).__name__ == "Fenced"
    assert [user.username for user in User.objects.all()] == [result.context.key]


@pytest.mark.django_db
def test_a_run_that_the_ledger_does_not_begin_says_so(report, instance):
    """A second one while the first is going: skipped in production, an error in a test."""
    api.sync()
    first = ledger.request("report", ledger.database_now(), "api")
    ledger.begin(ledger.database_now(), {"process": 1}, ["report"], instance, only_run=first.pk)

    with pytest.raises(Refused, match=r"run \d+ of report was not begun: it is skipped"):
        run_recorded(report)
    assert report.done == []


@pytest.mark.postgres
@pytest.mark.django_db
def test_a_job_that_breaks_the_tests_transaction_is_told_what_to_do(crons_sandbox):
    """PostgreSQL takes nothing more after an error; in production the job's transaction is its own."""

    @job(None)
    def broken():
        connection.cursor().execute("SELECT 1 / 0")

    with pytest.raises(LedgerUnavailable, match=r"Use a TransactionTestCase, or django_db\(transaction=True\)\."):
        run_recorded(broken)


@pytest.mark.django_db(transaction=True)
def test_a_job_whose_statement_fails_is_recorded_where_the_transaction_is_its_own(crons_sandbox):
    """What the message above advises."""

    @job(None)
    def broken():
        connection.cursor().execute("SELECT nothing FROM nowhere")

    assert run_recorded(broken).run.verdict == "failed"


class InsideATestCase(TestCase):
    """The transaction of Django's own TestCase, without any of pytest's fixtures."""

    def test_runs_are_recorded_and_rolled_back_with_the_test(self):
        self.enterContext(sandbox())
        job(None, name="greet")(lambda: print("hello"))

        result = run_recorded("greet")

        assert connection.in_atomic_block
        assert (result.output, Run.objects.get().verdict) == ("hello\n", "succeeded")


@pytest.mark.django_db(transaction=True)
def test_runs_are_recorded_without_a_transaction_around_the_test(report):
    """Where a test needs real commits."""
    assert run_recorded(report).run.verdict == "succeeded"
    assert transaction.get_autocommit()


# ── clock ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
def test_the_clock_moves_the_ledger_and_django_and_stops_moving_them(crons_clock):
    """One time for whoever asks, on PostgreSQL too, where the ledger asks the server."""
    crons_clock.move_to("2026-03-29T01:59+01:00")

    assert ledger.database_now() == timezone.now() == datetime(2026, 3, 29, 0, 59, tzinfo=UTC)
    assert ledger.agenda().now == ledger.database_now()
    assert crons_clock.advance(minutes=2) == ledger.database_now()
    assert crons_clock.advance(timedelta(hours=-1)) == timezone.now() == datetime(2026, 3, 29, 0, 1, tzinfo=UTC)


@pytest.mark.django_db
def test_clocks_nest_and_the_real_time_comes_back():
    """A helper that stops the clock must not start it for its caller."""
    real = timezone.now
    with clock.at("2026-01-01T00:00Z"):
        with clock.at(datetime(2027, 1, 1, tzinfo=UTC)):
            assert ledger.database_now().year == timezone.now().year == 2027
        assert ledger.database_now().year == timezone.now().year == 2026

    assert timezone.now is real
    assert abs(ledger.database_now() - real()) < timedelta(minutes=1)


def test_only_a_stopped_clock_can_be_moved():
    """Forgotten `with`: the real time is nobody's to move."""
    with pytest.raises(RuntimeError, match="no clock is stopped here"):
        clock.advance(minutes=1)


def test_a_reading_without_offset_is_of_the_schedules_zone(settings):
    """CRONS["TIME_ZONE"], as on the command line."""
    settings.CRONS = {"TIME_ZONE": BERLIN}

    with clock.at("2026-07-01T12:00") as now:
        assert now.now == datetime(2026, 7, 1, 10, 0, tzinfo=UTC)


# ── play ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("start", "until", "slots"),
    [
        ("2026-03-28T00:00", "2026-03-30T12:00", ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"]),
        ("2026-10-24T12:00", "2026-10-26T00:00", ["10-25 02:30 +0200"]),
    ],
)
def test_over_the_weekend_of_a_clock_change_the_nightly_job_runs_once_a_night(report, settings, start, until, slots):
    """The test that a project writes about its own declarations."""
    from zoneinfo import ZoneInfo

    settings.CRONS = {"TIME_ZONE": BERLIN}

    runs = play(start, until)

    assert [f"{each.slot_at.astimezone(ZoneInfo(BERLIN)):%m-%d %H:%M %z}" for each in runs] == slots
    assert [(each.verdict, each.trigger) for each in runs] == [("succeeded", "test")] * len(slots)
    assert [context.until for context in report.done] == [each.slot_at for each in runs]
    assert Range.objects.count() == 0


@pytest.mark.django_db
def test_jobs_see_the_time_of_their_slot_and_windows_follow_on(crons_sandbox):
    """since is where the last success ended."""
    seen = []

    @job(cron("0 * * * *"))
    def hourly(context):
        seen.append((timezone.now(), context.since, context.until))

    play("2026-05-05T00:30Z", "2026-05-05T03:00Z")

    half, one, two, three = (datetime(2026, 5, 5, hour, minute, tzinfo=UTC) for hour, minute in
                             ((0, 30), (1, 0), (2, 0), (3, 0)))  # fmt: skip
    assert seen == [(one, half, one), (two, one, two), (three, two, three)]


@pytest.mark.django_db
def test_retries_and_mails_are_played_too(crons_sandbox, settings):
    """Somebody is told once, and once more when it works again."""
    import django

    settings.ADMINS = ["ops@example.com"] if django.VERSION >= (6, 0) else [("Ops", "ops@example.com")]
    tries = []

    @job(cron("0 4 * * *"), retry=Retry(1, wait=timedelta(minutes=5)))
    def fetch():
        tries.append(timezone.now())
        if len(tries) < 4:
            raise LookupError("the partner is away")

    runs = play("2026-05-05T00:00Z", "2026-05-07T00:00Z")

    assert [f"{at:%d %H:%M}" for at in tries] == ["05 04:00", "05 04:05", "06 04:00", "06 04:05"]
    assert [(each.verdict, each.tries) for each in runs] == [("failed", 2), ("succeeded", 2)]
    assert [each.subject.removeprefix("[Django] ") for each in mail.outbox] == ["fetch failed", "fetch works again"]


@pytest.mark.django_db
def test_a_job_that_takes_longer_than_its_interval_is_caught_up_as_it_says(crons_sandbox):
    """The clock moves inside the job; what fell due meanwhile is one slot and a range."""

    @job(every(minutes=10))
    def slow():
        if timezone.now().hour == 1:
            clock.advance(minutes=35)

    runs = play("2026-05-05T00:55Z", "2026-05-05T02:30Z")

    assert [f"{each.slot_at:%H:%M}" for each in runs] == ["01:00", "01:30", "02:10", "02:20", "02:30"]
    assert [(each.count, each.reason) for each in Range.objects.order_by("first_at")] == [
        (2, "catch_up"),
        (3, "catch_up"),
    ]


@pytest.mark.django_db
def test_a_job_that_is_always_late_comes_to_the_end_too(crons_sandbox):
    """Each run takes longer than its interval: something is due for ever."""

    @job(every(minutes=5))
    def late():
        clock.advance(minutes=12)

    runs = play("2026-05-05T09:59Z", "2026-05-05T10:13Z")

    assert [f"{each.slot_at:%H:%M}" for each in runs] == ["10:00", "10:10"]


@pytest.mark.django_db
def test_only_those_named_take_part_and_pretending_calls_nothing(report):
    """A year of one real entry, without a year of its work."""
    job(every(minutes=1), name="busy")(lambda: report.done.append("busy"))

    runs = play("2026-01-01T00:00Z", "2026-01-03T00:00Z", only=["report"], pretend=True)

    assert [(each.entry.name, each.verdict) for each in runs] == [("report", "succeeded")] * 2
    assert report.done == []
    assert registry.jobs["report"].body is report
    assert [each.entry.name for each in play("2026-01-03T00:00Z", "2026-01-03T00:02Z")] == ["busy", "busy"]


@pytest.mark.django_db
def test_unknown_names_and_a_past_that_is_accounted_for_are_refused(report):
    """Both would be an empty list that looks like an answer."""
    with pytest.raises(UnknownJob, match=r"'reprot' is not declared\. Did you mean 'report'\?"):
        play("2026-01-01T00:00Z", "2026-01-02T00:00Z", only=["reprot"])
    assert Entry.objects.count() == 0

    play("2026-01-01T00:00Z", "2026-01-02T00:00Z")
    with pytest.raises(ValueError, match="report is accounted for until 2026-01-01 01:30:00 UTC"):
        play("2026-01-01T00:00Z", "2026-01-02T00:00Z")


def test_the_playgrounds_time_is_told_to_no_other_process():
    """A subprocess of a test has the real time, and its own registry."""
    with clock.at("2020-01-01T00:00Z"):
        said = subprocess.run(
            [sys.executable, "-c", "import time; print(time.gmtime().tm_year)"], capture_output=True, check=True
        )

    assert int(said.stdout) > 2020


def test_an_endless_error_is_what_the_ledger_would_keep():
    """As the page says of it: an assertion on five megabytes would not hold in production."""
    with sandbox():

        @job(None)
        def shouts():
            raise ValueError("x" * 5_000_000)

        result = run(shouts)

    assert len(result.error) < 40_000
    assert "characters left out" in result.error
    assert len(str(result.raised)) == 5_000_000
