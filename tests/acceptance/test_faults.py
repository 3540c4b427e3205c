"""What happens to a site with more than one host: connections cut in the middle, servers that restart under load."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import psycopg
import pytest

from tests import postgres
from tests.acceptance import brokers
from tests.acceptance.conftest import PATIENCE_SECONDS, ROOT, Site, wait_for_line
from tests.acceptance.cut import Way
from tests.acceptance.pooler import Pooler
from tests.acceptance.test_random_kills import ENTRIES, Account
from tests.databases import OwnDatabase

SLOTS = 20
# Workers come back to a broker after growing pauses, and what it had lost is sent again after a minute or two.
RECOVERY_SECONDS = 300
DONE = "SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) >= {}"
SOME = "SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) >= 3"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    path = Path(tempfile.mkdtemp(prefix="crons-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_ticks_that_were_refused_are_told_of_by_the_next(site: Site) -> None:
    """Each ended before the database took writes again, and cron's mail of it went to nobody."""
    site.make_due("plain")
    site.env |= {"TMPDIR": str(site.folder), "TEST_MAILS": str(site.folder / "mails")}
    for _ in range(2):
        refused = site.crons("tick", check=False, TEST_READ_ONLY="1")
        assert refused.returncode == 1, refused.stderr
    [notes] = site.folder.glob("crons-*/refused-*")
    assert stat.S_IMODE(notes.stat().st_mode) == 0o600
    # The first of them five minutes ago: a test does not wait for that.
    first, *others = notes.read_text().strip().splitlines()
    earlier = json.loads(first)
    earlier["first_at"] = (datetime.fromisoformat(earlier["first_at"]) - timedelta(minutes=5)).isoformat()
    notes.write_text("\n".join([json.dumps(earlier), *others]))

    site.crons("tick")

    [(rule, summary, count)] = site.sql("SELECT rule, summary, count FROM crons_incident WHERE rule <> 'outage'")
    assert (rule, count >= 2) == ("refused", True)
    assert summary.startswith("database refused writes from ")
    assert {name for (name,) in site.sql("SELECT channel FROM crons_delivery")} == {"admins"}
    assert site.verdicts("plain") == [("succeeded", 1, "succeeded")]


@pytest.mark.postgres
@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize(
    "mark",
    [
        pytest.param(b'INSERT INTO "crons_run"', id="record"),
        pytest.param(b'INSERT INTO "crons_attempt"', id="begin"),
        pytest.param(b"succeeded", id="finish"),
    ],
)
def test_a_connection_cut_in_the_middle_of_a_write(site: Site, folder: Path, mark: bytes, before: bool) -> None:
    """Whether it was committed nobody has said: each slot is done once all the same, and the scheduler goes on."""
    site.env["TEST_ENTRIES"] = str(SLOTS)
    site.crons("sync")
    site.make_all_due("traced_%")
    parts = urlsplit(site.env["DATABASE_URL"])
    way = Way(folder, Path(dict(parse_qsl(parts.query))["host"]), mark=mark, before=before)

    server = site.start("serve", DATABASE_URL=parts._replace(query=f"host={folder}").geturl())
    site.wait_for_row(DONE.format(SLOTS), server)
    server.send_signal(signal.SIGTERM)
    told = server.communicate(timeout=PATIENCE_SECONDS)[0]
    way.close()

    assert way.was_cut.is_set()
    assert server.returncode == 0, told
    assert "Traceback" not in told
    traces = Counter(key for entry, key, _ in site.traces() if entry.startswith("traced_"))
    assert set(traces.values()) == {1}
    assert len(traces) >= SLOTS
    # What was begun and never started is given back as such; everything that was started succeeded.
    ended = site.sql("SELECT DISTINCT outcome FROM crons_attempt WHERE SUBSTR(error, 1, 10) <> 'begun, but'")
    assert ended == [("succeeded",)]


@pytest.mark.postgres
def test_a_pooler_that_forgets_the_session_after_each_transaction(site: Site, folder: Path) -> None:
    """As PgBouncer in transaction mode: nothing of the ledger lives in a session."""
    site.env["TEST_ENTRIES"] = str(SLOTS)
    site.crons("sync")
    site.make_all_due("traced_%")
    parts = urlsplit(site.env["DATABASE_URL"])
    pooler = Pooler(folder, Path(dict(parse_qsl(parts.query))["host"]))
    direct, site.env["DATABASE_URL"] = site.env["DATABASE_URL"], parts._replace(query=f"host={folder}").geturl()

    servers = [site.start("serve") for _ in range(2)]
    site.env["DATABASE_URL"] = direct
    site.wait_for_row(DONE.format(SLOTS), servers[0])
    through = {"DATABASE_URL": parts._replace(query=f"host={folder}").geturl()}
    failed = site.crons("run", "fails", "--manual", check=False, **through)
    paused = site.crons("pause", "plain", "--reason", "because", **through)
    said = site.crons("log", "fails", "--stream", "stdout", **through)
    for each in (
        "list",
        "history",
        "next",
        "resume plain",
        "backfill plain --since 2026-01-01 --until 2026-01-02 --dry-run",
    ):
        site.crons(*each.split(), **through)
    site.crons("prune", **through)
    told = []
    for server in servers:
        server.send_signal(signal.SIGTERM)
        told.append(server.communicate(timeout=PATIENCE_SECONDS)[0])
    pooler.close()

    assert [server.returncode for server in servers] == [0, 0], told
    assert "Traceback" not in "".join(told)
    assert (failed.returncode, paused.returncode, said.stdout) == (1, 0, "about to fail\n")
    traces = Counter(key for entry, key, _ in site.traces() if entry.startswith("traced_"))
    assert set(traces.values()) == {1}
    assert len(traces) >= SLOTS
    assert pooler.sessions > 100


@pytest.mark.postgres
@pytest.mark.parametrize("table", ["crons_entry", "crons_run", "crons_outputchunk"])
def test_a_table_that_a_stranger_locks_costs_no_healthy_job(site: Site, table: str) -> None:
    """VACUUM FULL, ALTER TABLE: the scheduler has one thread, and the leases of what it runs stand in another table."""
    site.env["TEST_LEASE"] = "12"
    os.mkfifo(site.folder / "gate")
    site.make_due("waits_for_release", "plain")
    server = site.start("serve")
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    running = "FROM crons_attempt WHERE outcome = ''"
    site.wait_for_row(f"SELECT 1 {running} HAVING COUNT(*) = 1", server)
    [(begun_at,)] = site.sql(f"SELECT begun_at {running}")

    with psycopg.connect(site.database.url) as stranger:
        stranger.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        os.write(gate, b"a word\n")
        # Renewed after four fifths of the lease that it began with, when its supervisor would have killed it.
        site.wait_for_row(f"SELECT 1 {running} AND lease_until > '{begun_at}'::timestamptz + interval '22 s'", server)

    os.close(gate)
    site.wait_for_row("SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) = 2", server)
    server.send_signal(signal.SIGTERM)
    told = server.communicate(timeout=PATIENCE_SECONDS)[0]
    assert server.returncode == 0, told
    assert "Traceback" not in told
    assert "somebody else keeps a lock on what the ledger needs" in told
    assert site.verdicts("waits_for_release") == site.verdicts("plain") == [("succeeded", 1, "succeeded")]
    assert site.crons("log", "waits_for_release").stdout == "a word\n"


def load(site: Site, url: str) -> list[subprocess.Popen[str]]:
    """Start two schedulers and two workers that have something to do each second."""
    site.env |= {"TEST_KILLS": "1", "BROKER_URL": url, "TEST_EXECUTOR": "celery", "CELERY": json.dumps({})}
    site.crons("sync")
    site.make_due()
    for entry in sorted(ENTRIES):
        site.sql("UPDATE crons_entry SET wake_at = NULL WHERE name = %s", entry)
    site.sql("DELETE FROM crons_run")
    started = []
    for name in ("ann", "bob"):
        output = site.stack.enter_context((site.folder / f"{name}.log").open("w"))
        command = ("-m", "celery", "-A", "tests.acceptance.project.celery", "worker", "-n", f"{name}@test", "-c", "3")
        started.append(site.start_python(*command, "--without-mingle", "--without-gossip", output=output,
                                         PYTHONPATH=str(ROOT)))  # fmt: skip
    for number in range(2):
        output = site.stack.enter_context((site.folder / f"serve{number}.log").open("w"))
        started.append(site.start_python(str(site.manage_py), "crons", "serve", output=output))
    return started


def whole(site: Site, started: list[subprocess.Popen[str]]) -> Account:
    """Stop what was started, see the last runs through, and return the account, which must be whole."""
    for process in started[2:]:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(PATIENCE_SECONDS) for process in started[2:]] == [0, 0]
    for process in started[:2]:
        process.send_signal(signal.SIGTERM)
    for process in started[:2]:
        process.wait(PATIENCE_SECONDS)
    site.make_due()
    site.crons("tick")  # a begin that was cut off left an attempt that nobody has: it is found lost
    account = Account.of(site)
    for entry in ENTRIES:
        assert account.twice_or_never(entry) == {}, entry
    assert account.open_attempts() == []
    assert account.wrongly_begun_again() == []
    assert account.succeeded_without_effect() == []
    assert account.going_at_once() == []
    return account


@pytest.mark.postgres
@pytest.mark.slow(65)
@pytest.mark.needs("redis-server")
def test_a_broker_that_is_gone_for_half_a_minute_under_load(site: Site, tmp_path: Path) -> None:
    """It comes back with nothing of what it had: no slot is lost, none is done twice, and work goes on."""
    with brokers.redis(tmp_path) as redis:
        started = load(site, redis.url)
        site.wait_for_row(SOME, started[0])
        redis.stop()
        time.sleep(30)  # sleeps: how long the broker is gone is what is tested
        redis.start()
        [(before,)] = site.sql("SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded'")
        site.wait_for_row(DONE.format(before + 10), started[0], RECOVERY_SECONDS)
        account = whole(site, started)

    assert account.told()


@pytest.mark.postgres
@pytest.mark.slow(30)
@pytest.mark.needs("redis-server")
def test_a_database_that_crashes_under_load(tmp_path: Path, folder: Path) -> None:
    """Schedulers and workers wait for it, and go on where they were."""
    server = postgres.Server(folder / "pg", keeps_commits=True)
    try:
        database = OwnDatabase("postgresql", server.url("postgres"), tmp_path)
        assert database.manage("migrate", "--no-input", "--verbosity=0").returncode == 0
        site = Site(database, tmp_path)
        with site.stack, brokers.redis(tmp_path) as redis:
            started = load(site, redis.url)
            for _ in range(3):
                [(before,)] = site.sql("SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded'")
                site.wait_for_row(DONE.format(before + 3), started[0])
                server.restart()
            [(before,)] = site.sql("SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded'")
            site.wait_for_row(DONE.format(before + 10), started[0], RECOVERY_SECONDS)
            whole(site, started)
    finally:
        server.stop()


@pytest.mark.needs("redis-server")
def test_an_argument_that_the_job_no_longer_takes(site: Site, tmp_path: Path) -> None:
    """Sent by one release, run by the next: it fails, and the error names the argument."""
    with brokers.redis(tmp_path) as redis:
        site.env |= {"BROKER_URL": redis.url, "TEST_EXECUTOR": "celery"}
        site.crons("sync")
        site.make_due("harmless")
        given = [json.dumps({"region": "eu"}), json.dumps({"executor": "celery"})]
        site.sql("UPDATE crons_entry SET args = %s, policy = %s WHERE name = 'harmless'", *given)
        site.crons("tick")
        command = ("-m", "celery", "-A", "tests.acceptance.project.celery", "worker", "-c", "1", "-l", "INFO")
        taker = site.start_python(*command, "--without-mingle", PYTHONPATH=str(ROOT))
        wait_for_line(taker, r"ready\.")
        site.wait_for_row("SELECT 1 FROM crons_run WHERE verdict = 'failed'", taker)

    [(error,)] = site.sql("SELECT error FROM crons_attempt WHERE outcome = 'failed'")
    assert "unexpected keyword argument 'region'" in error
    assert [entry for entry, _, _ in site.traces() if entry == "harmless"] == []
