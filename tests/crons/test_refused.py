"""A database that refused writes: noted outside of it, and told of by itself once it takes them again."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.db.backends.signals import connection_created

from crons import ledger, watch
from crons.exceptions import LedgerUnavailable
from crons.ledger.refusals import Refusals, path, refused_writes
from crons.models import Delivery, Incident
from tests.crons.conftest import minutes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_registry", "crons_schedulers")]
EIGHT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
REFUSING = {"sqlite": "PRAGMA query_only = 1", "postgresql": "SET default_transaction_read_only = on"}
READ_ONLY = {"sqlite": "attempt to write a readonly database", "postgresql": "in a read-only transaction"}
FULL = "PRAGMA max_page_count = 1"  # as many as there are


@pytest.fixture(autouse=True)
def notes(settings, monkeypatch, tmp_path):
    """Somebody reads mail; and no other test's refusals are in memory or in the file."""
    settings.ADMINS = ["ops@example.com"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    refused_writes.__init__()
    yield
    refused_writes.__init__()


@pytest.fixture
def clock(monkeypatch):
    """Set what this host's clock shows: a minute is no reason to wait for one."""
    now = [EIGHT]
    monkeypatch.setattr("crons.ledger.refusals.timezone.now", lambda: now[0])

    def at(minute):
        now[0] = EIGHT + minutes(minute)
        return now[0]

    return at


@pytest.fixture
def refusing(db):
    """Have this connection, and those that take its place after an error, begin with *sql*; none does after the end."""

    @contextmanager
    def begun_with(sql):
        def set_up(connection, **_):
            with connection.cursor() as cursor:
                cursor.execute(sql)

        connection_created.connect(set_up)
        connection.close()
        try:
            yield
        finally:
            connection_created.disconnect(set_up)
            connection.close()

    return begun_with


@pytest.fixture
def another():
    """Have another process, which has ended since, be refused *attempts* writes from one minute on to the next."""

    def noted(clock, first, last, attempts=2):
        process = Refusals()
        for minute in (first, *[last] * (attempts - 1)):
            clock(minute)
            process.note("the disk is full")
        process.write_down()

    return noted


def told():
    return list(Delivery.objects.order_by("pk").values_list("subject", flat=True))


def test_a_database_that_took_no_writes_is_told_of_afterwards(make_entry, clock, refusing):
    """Until now only the slots that it cost were: where none fell due, nobody was told of a night without writes."""
    make_entry("backup")
    with refusing(REFUSING[connection.vendor]):
        for minute in (0, 3, 7):
            with pytest.raises(LedgerUnavailable):
                ledger.pause("backup", clock(minute), by="ada", reason="because")
        watch.inspect(clock(8))  # refused as well: that is one attempt more, and what was noted stays noted
        assert Incident.objects.count() == 0

    for minute in (9, 10):
        watch.inspect(clock(minute))

    [incident] = Incident.objects.all()
    said = "database refused writes from 2026-03-02 08:00:00 UTC to 2026-03-02 08:09:00 UTC: 4 attempts"
    error = READ_ONLY[connection.vendor]
    assert incident.summary.startswith(f"{said}: ")
    assert error in incident.summary
    assert (incident.rule, incident.severity, incident.count) == ("refused", "critical", 4)
    assert (incident.open_key, incident.closed_at) == (None, EIGHT + minutes(9))
    [delivery] = Delivery.objects.all()
    assert (delivery.subject, delivery.notice["change"]) == (said, "opened")
    assert delivery.next_try_at == EIGHT + minutes(9.5)
    assert error in delivery.notice["text"]
    assert path().stat().st_size == 0


@pytest.mark.sqlite
def test_a_full_disk_is_told_of_afterwards(clock, refusing):
    """SQLite says so in its own words; PostgreSQL's server may not even accept connections then."""

    @ledger.verb
    def fill():
        with connection.cursor() as cursor:
            for _ in range(100):
                cursor.execute("INSERT INTO filler VALUES (%s)", ["x" * 50_000])

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE filler (text)")
    with refusing(FULL):
        for minute in (0, 2):
            clock(minute)
            with pytest.raises(LedgerUnavailable):
                fill()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE filler")
    watch.inspect(clock(3))

    assert Incident.objects.get().summary == (
        "database refused writes from 2026-03-02 08:00:00 UTC to 2026-03-02 08:03:00 UTC: "
        "2 attempts: database or disk is full"
    )


def test_many_processes_and_a_restart_are_one_incident(clock, another):
    """A tick ends before the database is back; and a scheduler that comes last has seen the same."""
    another(clock, 0, 5, attempts=9)
    another(clock, 1, 6)
    watch.inspect(clock(7))
    another(clock, 2, 6.5)
    watch.inspect(clock(7.2))

    [incident] = Incident.objects.all()
    assert incident.count == 13
    assert incident.data["error"] == "the disk is full"
    assert told() == ["database refused writes from 2026-03-02 08:00:00 UTC to 2026-03-02 08:07:00 UTC: 13 attempts"]


def test_what_comes_back_within_the_hour_is_the_same_incident(clock, another):
    """A database that flaps is one thing: told twice, and then after the tenth time."""
    for start in range(0, 60, 10):
        another(clock, start, start + 2)
        watch.inspect(clock(start + 3))
        Delivery.objects.update(state="sent")
    another(clock, 200, 202)
    watch.inspect(clock(203))

    assert list(Incident.objects.order_by("pk").values_list("count", flat=True)) == [12, 2]
    assert told() == [
        "database refused writes from 2026-03-02 08:00:00 UTC to 2026-03-02 08:03:00 UTC: 2 attempts",
        "database refused writes from 2026-03-02 08:10:00 UTC to 2026-03-02 08:13:00 UTC, 2 times: 4 attempts",
        "database refused writes from 2026-03-02 11:20:00 UTC to 2026-03-02 11:23:00 UTC: 2 attempts",
    ]


def test_what_lasted_a_moment_is_nobodys_news(clock, another):
    """A failover, a lock that somebody kept: the next turn did it, and a message each would be read by nobody."""
    another(clock, 0, 0.4)
    watch.inspect(clock(1))
    another(clock, 5, 5, attempts=1)
    watch.inspect(clock(6))

    assert Incident.objects.count() == 0
    assert path().stat().st_size == 0


def test_a_file_that_cannot_be_trusted_or_written_is_left_alone(clock, another, tmp_path):
    """Who came first in /tmp could have it be anything; what stands in memory is told all the same."""
    folder = path().parent
    elsewhere = tmp_path / "elsewhere"
    folder.mkdir(mode=0o700)
    elsewhere.write_text("kept")
    path().symlink_to(elsewhere)
    for minute in (0, 2):
        clock(minute)
        refused_writes.note("the disk is full")
    watch.inspect(clock(3))
    assert (elsewhere.read_text(), Incident.objects.get().count) == ("kept", 2)

    path().unlink()
    os.chmod(folder, 0o777)
    another(clock, 300, 302)
    assert not path().exists()
    os.chmod(folder, 0o700)
    another(clock, 300, 302)
    with path().open("ab") as file:
        file.write(b'{"process": "cut o\n[]\n{"first_at": 3}\n')
    watch.inspect(clock(303))
    assert list(Incident.objects.order_by("pk").values_list("count", flat=True)) == [2, 2]


def test_a_test_suite_notes_nothing(clock, tmp_path, monkeypatch):
    """Suites have databases refuse writes on purpose; and a file of theirs would be told of in production."""
    monkeypatch.setenv("CRONS_IN_TESTS", "1")
    for minute in (0, 5):
        clock(minute)
        refused_writes.note("the disk is full")
    watch.inspect(clock(6))

    assert (Incident.objects.count(), list(tmp_path.iterdir())) == (0, [])
