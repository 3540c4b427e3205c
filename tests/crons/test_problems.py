"""What is wrong now: one answer, whoever asks."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.db import OperationalError, connection

from crons import api, cron, job, ledger
from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.executors.process.executor import ProcessExecutor
from crons.executors.process.hosted import HostedAttempt
from crons.models import Entry, Heartbeat
from crons.redaction import Redaction
from crons.triggers.serve import Scheduler
from crons.watch import Look, find_problems, hosts
from crons.watch import problems as asked
from crons.web import overview
from tests.contracts.hosting import begun
from tests.crons.cli.conftest import call_crons
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The database's clock says noon."""
    monkeypatch.setattr(ledger, "database_now", lambda: NOON)


def test_command_line_and_first_page_give_one_answer(make_entry):
    """They disagreed: of an entry that nothing ever planned the page said overdue, and `health` that nothing is."""
    make_entry("new", since=NOON - minutes(30))
    make_entry("late", since=NOON - minutes(30))
    make_entry("parked", since=NOON - minutes(30))
    Entry.objects.filter(name="new").update(wake_at=None)
    Entry.objects.filter(name="late").update(wake_at=NOON - minutes(20))
    Entry.objects.filter(name="parked").update(parked_reason="no zone", wake_at=NOON - minutes(20))

    told = api.health()

    assert sorted((each.kind, each.entry) for each in told) == [
        ("overdue", "late"),
        ("overdue", "new"),
        ("parked", "parked"),
    ]
    assert overview.look(DAY, NOON).problems.rows == told


def test_every_problem_of_an_entry_says_since_when_and_what_to_do(make_entry):
    """A line that only alarms leaves who is woken by it alone."""
    make_entry("late", since=NOON - minutes(30))
    Entry.objects.update(wake_at=NOON - minutes(20))

    [problem] = find_problems(Look(NOON))

    assert problem.since == NOON - minutes(20)
    assert problem.next_step == "Start manage.py crons serve, or see why cron does not call manage.py crons tick"


def test_a_rule_that_fails_is_a_problem_and_hides_no_other(make_entry, monkeypatch):
    """Whoever asks what is wrong must not get a traceback instead of it."""

    def stale(look):
        raise ValueError("no such row")

    make_entry("late", since=NOON - minutes(30))
    Entry.objects.update(wake_at=NOON - minutes(20))
    monkeypatch.setattr(asked, "RULES", [stale, asked.overdue])

    first, second = find_problems(Look(NOON))

    why = "the rule stale failed, so what it looks for is not known: ValueError: no such row"
    assert (first.kind, first.text) == ("crons", why)
    assert (second.kind, second.entry) == ("overdue", "late")


def test_a_rule_that_gets_no_answer_says_that_it_cannot_be_told(monkeypatch):
    """Where nothing can be told, nothing may look well."""

    def away(look):
        raise OperationalError("gone")

    monkeypatch.setattr(asked, "RULES", [away])

    with pytest.raises(LedgerUnavailable, match=r"^the database did not answer: gone$"):
        find_problems(Look(NOON))


def test_an_account_in_the_future_is_wrong_wherever_somebody_looks(make_entry, led):
    """A clock was ahead once, and for 456 days nothing fell due; nobody said so."""
    entry = make_entry()
    led.record(NOON + 456 * DAY)

    doubt, problem = api.health()
    [row] = [line for line in call_crons("list").out.splitlines() if line.startswith("heartbeat")]
    told = "is accounted for until 2027-06-01 12:00:00 UTC, which has not come: a clock was ahead"

    assert (doubt.kind, doubt.entry) == ("clock", "")  # of the two clocks nobody knows which is right
    assert (problem.kind, problem.entry) == ("clock", "heartbeat")
    assert problem.text.startswith(told)
    assert problem.next_step == "Set it back to now: manage.py crons reconcile --clock"
    assert told in row
    assert [slot.at for slot in api.upcoming(count=1)] == [Entry.objects.get(pk=entry.pk).wake_at]


def test_a_host_whose_clock_is_far_from_the_databases_is_wrong(make_entry):
    """What it fires by its own clock comes at the wrong time."""
    given = {"beat_at": NOON, "started_at": NOON, "expected_by": NOON + minutes(1), "boot_id": "b", "pid": 7}
    for host, skew in (("web1", 59.0), ("web2", -61.0)):
        Heartbeat.objects.create(instance=host, kind="serve", host=host, clock_skew_seconds=skew, **given)

    assert [(each.kind, each.text) for each in find_problems(Look(NOON))] == [
        ("clock", "the clock of web2 is -61 s from the database's")
    ]


def test_a_job_that_is_declared_and_has_no_row_is_wrong(empty_registry, make_entry):
    """After `flush`, or in a database that was only migrated, nothing falls due, and nobody said so."""
    for name in ("nightly", "weekly", "gone"):
        job(cron("0 3 * * *"), name=name)(lambda: None)
    make_entry("nightly")
    make_entry("gone")
    Entry.objects.filter(name="gone").update(retired_at=NOON)

    found = [each for each in find_problems(Look(NOON)) if each.kind == "unsynced"]

    assert [each.text for each in found] == [
        "declared here, but not in this database, so that nothing of it falls due: weekly",
        "declared here, but retired in this database, so that nothing of it falls due: gone",
    ]
    assert found[0].next_step == "Write it: manage.py crons sync"


def test_a_running_scheduler_declares_again_what_has_lost_its_row(empty_registry, db):
    """`manage.py flush` under a running `serve` left it idle for ever."""
    job(cron("0 3 * * *"), name="nightly")(lambda: None)
    said = []
    scheduler = Scheduler(mock.Mock(), said.append)
    api.sync()

    scheduler._write_what_is_gone()
    quiet = list(said)
    Entry.objects.all().delete()
    scheduler._write_what_is_gone()
    scheduler._write_what_is_gone()

    assert quiet == []
    [line] = said
    assert line.startswith("Not in the database any more, declared again: ")
    assert line.endswith("nightly.")
    assert Entry.objects.filter(name="nightly").exists()


def serve_on(host, **fields):
    given = {"beat_at": NOON, "started_at": NOON, "expected_by": NOON + minutes(1), "boot_id": "b", "pid": 7, **fields}
    return Heartbeat.objects.create(instance=host, kind="serve", host=host, **given)


def test_what_keeps_a_scheduler_from_its_work_is_wrong(db):
    """It lives and beats, so it looks well; what it knows of itself is all there is."""
    serve_on("web1", troubles=[["host", "no process could be started: RLIMIT_NOFILE is 16"], "garbled", [1, 2]])
    serve_on("web2", troubles=5, lacks=["Europe/Kyiv"])
    serve_on("web3", troubles=[["host", "old news"]], expected_by=NOON - minutes(1))

    found = [(each.kind, each.text) for each in find_problems(Look(NOON)) if each.kind != "scheduler"]

    assert found == [
        ("host", "serve on web1 (pid 7): no process could be started: RLIMIT_NOFILE is 16"),
        ("zone", "serve on web2 (pid 7) has no time zone data of 'Europe/Kyiv', and leaves its entries to other hosts"),
    ]


@pytest.mark.parametrize("why", ["full", "file", "folder", "mount", "uri", "well", "memory"])
def test_a_database_file_that_takes_no_writes_is_wrong(tmp_path, monkeypatch, why):
    """Twelve seconds into a full disk `health` said that nothing is wrong: nothing had failed yet."""
    path = tmp_path / "db.sqlite3"
    path.touch()
    names = {"uri": f"file:{path}?mode=ro", "memory": ":memory:"}
    refused = {"file": path, "folder": tmp_path}.get(why)
    disk = mock.Mock(f_bavail=100 if why == "full" else 1 << 30, f_frsize=4096, f_flag=1 if why == "mount" else 0)
    monkeypatch.setattr(hosts.os, "statvfs", lambda folder: disk)
    monkeypatch.setattr(hosts.os, "access", lambda place, mode: place != refused)

    said = hosts._why_not_sqlite(names.get(why, str(path)))

    assert (
        said
        == {
            "full": f"the disk of {tmp_path} is full, 400 KiB are free",
            "file": f"this user may not write to {path}",
            "folder": f"this user may not make SQLite's journal in {tmp_path}",
            "mount": f"{tmp_path} is mounted read-only",
            "uri": "it is opened read-only",
            "well": "",
            "memory": "",
        }[why]
    )


def test_a_database_that_takes_no_writes_is_named(monkeypatch, make_entry):
    """Whichever it is, what to expect is said with it."""
    make_entry(since=NOON)
    monkeypatch.setattr(hosts, "_why_not_sqlite", lambda name: "the disk is full")
    monkeypatch.setattr(Look, "is_read_only", True)

    [found] = find_problems(Look(NOON))

    assert found.kind == "database"
    assert found.text.startswith("the database takes no writes: ")


@pytest.mark.postgres
@pytest.mark.parametrize("entries", [0, 1])
def test_a_read_only_server_is_wrong(make_entry, entries):
    """A standby that was promoted by nobody answers all questions, and takes nothing: not even the first entry."""
    for _ in range(entries):
        make_entry(since=NOON)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_read_only = on")

    assert [each.text for each in find_problems(Look(NOON))] == [
        "the database takes no writes: it is read-only: a standby, or default_transaction_read_only"
    ]


def test_a_scheduler_whose_looks_fail_says_so_in_its_heartbeat(db, monkeypatch):
    """Where a full disk refuses some writes and takes others, its beats go on and it looks well."""
    told = []
    monkeypatch.setattr("crons.triggers.heartbeat.beat", lambda *args, **given: told.append(given["troubles"]))
    session = mock.Mock(executors={"process": mock.Mock(trouble="")})
    session.dispatcher.turn.side_effect = LedgerUnavailable("database or disk is full")
    session.dispatcher.lacking = set()
    scheduler = Scheduler(session, print)

    for _ in range(4):
        scheduler._note(LedgerUnavailable("database or disk is full"))

    assert told == [[], [("database", "3 looks in a row failed: database or disk is full")]]


def test_an_attempt_past_its_lease_or_its_timeout_is_stuck(led, make_entry):
    """It blocks its entry, and a page that says that nothing is wrong hides why."""
    make_entry("unrenewed", since=NOON - minutes(30))
    make_entry("endless", since=NOON - minutes(30), timeout=minutes(5))
    make_entry("well", since=NOON - minutes(30), timeout=minutes(11))
    led.record(NOON - minutes(12))
    begun = {each.entry: each for each in led.begin(NOON - minutes(12))}
    ledger.renew([begun["endless"].attempt, begun["well"].attempt], NOON)

    told = {each.entry: each for each in find_problems(Look(NOON)) if each.kind == "stuck"}

    assert set(told) == {"unrenewed", "endless"}
    who = f"on {led.instance.host} (pid {led.instance.pid})"
    assert told["unrenewed"].text == (
        f"attempt {begun['unrenewed'].attempt} {who} has not renewed its lease: is that process stopped?"
    )
    assert told["unrenewed"].since == NOON - minutes(12) + conf.lease
    assert told["endless"].text == (
        f"attempt {begun['endless'].attempt} {who} goes on past its timeout, and could not be ended"
    )
    assert told["endless"].since == NOON - minutes(7)
    assert told["endless"].next_step == f"See: manage.py crons show {begun['endless'].run}"


def test_a_host_that_cannot_start_a_process_tells_its_scheduler():
    """It rests, so nothing fails any more; its heartbeat is what `health` has."""
    executor = ProcessExecutor(alias="process")

    executor.on_failed_start(7, "the job's process could not be started: Too many open files")

    assert executor.trouble == (
        "it rests, and what is due is left to others: the job's process could not be started: Too many open files"
    )


def test_what_keeps_a_host_from_starting_jobs_is_told_at_once_and_ends_with_a_start(db, monkeypatch, instance):
    """Ten seconds passed until the next heartbeat said it; and a host that is well again must not go on saying it."""
    executor = ProcessExecutor(alias="process")
    session = mock.Mock(executors={"process": executor}, instance=instance)
    session.dispatcher.lacking = set()
    scheduler = Scheduler(session, print)
    ours = f"serve on {instance.host} (pid {instance.pid})".replace("serve", instance.kind)
    started = HostedAttempt(
        begun(8, "job"),
        executor,
        pool=mock.Mock(),
        selector=mock.Mock(),
        output_limit_bytes=1,
        redaction=Redaction(()),
        kill_wait_seconds=0.0,
    )
    told = []

    def beat(*, is_time):
        scheduler.beat_at = 0.0 if is_time else scheduler.beat_at
        scheduler._beat()
        told.append([each.text for each in find_problems() if each.kind == "host"])

    beat(is_time=True)
    executor.on_failed_start(7, "Too many open files")
    beat(is_time=False)
    started.on_message(
        {
            "is_called": True,
            "stopped_by": None,
            "said": None,
            "code": 0,
            "is_garbled": False,
            "failure": "",
            "is_out_of_memory": False,
            "cpu_seconds": 0.0,
            "peak_memory_bytes": 0,
            "left": [],
        },
    )
    beat(is_time=True)

    rests = "it rests, and what is due is left to others: Too many open files"
    assert told == [[], [f"{ours}: {rests}"], []]
