"""How a scheduler ends: what runs may finish, the rest is cancelled or done later; what a lost database does."""

from __future__ import annotations

import os
import queue
import re
import signal
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from crons.schedules import parse
from tests.acceptance.conftest import (
    PATIENCE_SECONDS,
    Site,
    is_readable,
    moment,
    wait_for_line,
    wait_until_nobody_reads,
)
from tests.databases import OwnDatabase

LONG = "3600"


class Gate:
    """Keeps the jobs that wait for release: open to let them end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def wait_for_job(self) -> None:
        """Return when a job stands at the gate."""
        self.end = os.open(self.path, os.O_WRONLY)

    def open(self) -> None:
        """Let it go."""
        os.close(self.end)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """The gate of this site."""
    return Gate(tmp_path / "gate")


@pytest.mark.parametrize("verb", ["serve", "tick"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_scheduler_lets_its_job_finish_and_begins_nothing(
    site: Site, gate: Gate, verb: str, number: signal.Signals
) -> None:
    """A deploy must neither cut a job short nor start one that it will have to cut."""
    site.make_due("waits_for_release")
    process = site.start(verb, TEST_DRAIN=LONG)
    gate.wait_for_job()

    process.send_signal(number)
    if verb == "serve":
        wait_for_line(process, "Draining")
    site.make_due("plain")
    gate.open()
    output = process.communicate()[0]

    assert process.returncode == 0, output
    assert site.verdicts("waits_for_release") == [("succeeded", 1, "succeeded")]
    if verb == "serve":
        assert site.verdicts("plain") == []
    site.wait_until_nothing_runs()


def test_nohup_keeps_a_scheduler_alive_when_its_terminal_goes(site: Site) -> None:
    """SIGHUP stops one that did not ask to be left alone."""
    told = {}
    for how in ("exec", "trap '' HUP; exec"):
        process = site.start_program("sh", "-c", f'{how} "$@"', "sh", *site.command("serve"))
        wait_for_line(process, "crons serve: pid")
        status = Path(f"/proc/{process.pid}/status").read_text()
        masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
        told[how] = {mask for mask in ("SigIgn", "SigCgt") if int(masks[mask], 16) & 1 << signal.SIGHUP - 1}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0

    assert told == {"exec": {"SigCgt"}, "trap '' HUP; exec": {"SigIgn"}}


def test_a_job_that_outlives_the_grace_is_cancelled(site: Site, gate: Gate) -> None:
    """It is not begun again: it may have done half of its work. Nobody is told: it was no failure."""
    site.make_due("waits_for_release")
    process = site.start("serve", TEST_DRAIN="0")
    gate.wait_for_job()

    process.send_signal(signal.SIGTERM)
    output = process.communicate()[0]
    gate.open()
    site.crons("tick")

    assert process.returncode == 0, output
    assert site.verdicts("waits_for_release") == [("cancelled", 1, "cancelled")]
    # What is told is that it was begun late.
    assert site.sql("SELECT DISTINCT rule FROM crons_incident WHERE rule <> 'outage'") == []


def test_an_idempotent_job_that_outlives_the_grace_is_begun_again_with_its_key(site: Site, gate: Gate) -> None:
    """A restart is nobody's wish to have the work left undone, and here it is safe to do it again."""
    site.make_due("waits_harmlessly")
    process = site.start("serve", TEST_DRAIN="0")
    gate.wait_for_job()

    process.send_signal(signal.SIGTERM)
    output = process.communicate()[0]
    gate.open()
    waiting = site.verdicts("waits_harmlessly")
    again = site.start("tick")
    gate.wait_for_job()
    gate.open()
    again.communicate()

    assert process.returncode == 0, output
    assert waiting == [("waiting", 1, "cancelled")]
    assert site.verdicts("waits_harmlessly") == [("succeeded", 2, "cancelled succeeded")]
    (_, first, _), (_, second, _) = site.traces()
    assert first == second


def test_an_idempotent_job_that_a_person_cancelled_stays_cancelled(site: Site, gate: Gate) -> None:
    """Somebody wanted that: beginning it again would take the decision out of their hands."""
    site.make_due("waits_harmlessly")
    process = site.start("serve", TEST_LEASE="15")  # heard of at a quarter of it, killed at four fifths
    gate.wait_for_job()
    ((run,),) = site.sql("SELECT id FROM crons_run")

    site.crons("cancel", str(run), "--reason", "wrong list")
    wait_until_nobody_reads(gate.end)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    gate.open()

    assert site.verdicts("waits_harmlessly") == [("cancelled", 1, "cancelled")]


def test_a_second_signal_cuts_the_grace_short(site: Site, gate: Gate) -> None:
    """Who asks again does not want to wait; asked twice at once, it may be one wish that a wrapper passed on."""
    site.make_due("waits_for_release")
    process = site.start("serve", TEST_DRAIN=LONG)
    gate.wait_for_job()

    process.send_signal(signal.SIGTERM)
    wait_for_line(process, "Draining")
    while not is_readable(gate.end, 0.1):  # until its reader, the job, is gone
        process.send_signal(signal.SIGTERM)
    output = process.communicate()[0]
    gate.open()

    assert process.returncode == 0, output
    assert site.verdicts("waits_for_release") == [("cancelled", 1, "cancelled")]


@pytest.mark.postgres
def test_cut_connections_leave_no_hole(site: Site) -> None:
    """A database that restarts, or a pooler that cuts, costs a turn and no slot."""
    site.make_due()
    site.sql("UPDATE crons_entry SET wake_at = NULL WHERE name = 'each_second'")
    # Named, so that this test's own connections, which end a little later than it thinks, do not count.
    process = site.start("serve", PGAPPNAME="served")
    wait_for_line(process, "crons serve: pid")

    # Whoever needs it first says so: the turn, or the executor that writes an ending down. A heartbeat that is cut
    # says nothing, so one cut may not be enough.
    said: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=lambda lines: [said.put(line) for line in lines], args=(process.stdout,))
    reader.start()
    for _ in range(5):
        while not any(re.search("a turn failed|The ledger does not answer", line) for line in taken(said)):
            assert process.poll() is None
            site.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'served'"
            )
    process.send_signal(signal.SIGTERM)
    reader.join()

    assert process.wait() == 0, taken(said)
    assert holes(site, "each_second") == []


def taken(said: queue.Queue[str]) -> list[str]:
    """Take what has been said so far, waiting a moment for the first of it."""
    with suppress(queue.Empty):
        return [said.get(timeout=0.1), *(said.get_nowait() for _ in range(said.qsize()))]
    return []


@pytest.mark.sqlite  # PostgreSQL has no lock on the whole database; see test_cut_connections_leave_no_hole
def test_a_database_that_a_stranger_holds_leaves_no_hole(site: Site) -> None:
    """A backup, or somebody's long transaction: SQLite lets one write; on PostgreSQL a table may be locked."""
    site.make_due()
    site.sql("UPDATE crons_entry SET wake_at = NULL WHERE name = 'each_second'")
    process = site.start("serve", TEST_BUSY_SECONDS="0.1")
    wait_for_line(process, "crons serve: pid")

    for _ in range(2):
        stranger = sqlite3.connect(site.database.url.removeprefix("sqlite:///"), timeout=60)
        stranger.isolation_level = None
        stranger.execute("BEGIN IMMEDIATE")
        wait_for_line(process, "a turn failed")
        stranger.execute("ROLLBACK")
        stranger.close()
        wait_for_line(process, "the ledger answers again")
    process.send_signal(signal.SIGTERM)
    output = process.communicate()[0]

    assert process.returncode == 0, output
    assert holes(site, "each_second") == []


@pytest.mark.parametrize(
    "arguments", [("serve",), ("tick",), ("run", "plain", "--scheduled"), ("run", "plain", "--manual")]
)
def test_missing_tables_are_said_in_one_line(
    own_database: OwnDatabase, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """The first thing that goes wrong for everybody: migrate was forgotten."""
    site = Site(own_database, tmp_path)

    done = site.crons(*arguments, check=False)

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "CommandError: the tables of crons are missing: run manage.py migrate\n"


@pytest.mark.parametrize("arguments", [("serve",), ("tick",), ("run", "plain", "--scheduled")])
def test_a_database_that_is_away_is_said_in_one_line(site: Site, arguments: tuple[str, ...]) -> None:
    """A traceback each minute in cron's mail says less."""
    away = site.folder / "away"
    away.mkdir()
    url = f"sqlite:///{away}"

    done = site.crons(*arguments, check=False, DATABASE_URL=url)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "unable to open database file" in done.stderr


def holes(site: Site, entry: str) -> list[object]:
    """List the slots of *entry* that have no run and no range, or more than one."""
    ((pk, text, first, until),) = site.sql(
        "SELECT id, schedule, first_seen_at, accounted_until FROM crons_entry WHERE name = %s", entry
    )
    wanted = parse(text).between(moment(first), moment(until), ZoneInfo("UTC"))
    seen = [moment(at) for (at,) in site.sql("SELECT slot_at FROM crons_run WHERE entry_id = %s", pk)]
    assert site.sql("SELECT COUNT(*) FROM crons_range WHERE entry_id = %s", pk) == [(0,)]
    return sorted(set(wanted) ^ set(seen)) + [slot for slot in seen if seen.count(slot) > 1]
