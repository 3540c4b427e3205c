"""The executor celery with real brokers and real workers: whatever becomes of messages, each slot is done once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from crons.hosts.instances import boot_id, is_gone
from tests.acceptance import brokers
from tests.acceptance.conftest import PATIENCE_SECONDS, ROOT, Site, wait_for_line, wait_until_nobody_reads

SLOTS = 40
APP = "tests.acceptance.project.celery"
DONE = "SELECT 1 FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id WHERE e.name = '{}' AND verdict = 'succeeded'"


def worker(site: Site, name: str, *options: str, **env: str) -> subprocess.Popen[str]:
    """Start a Celery worker and return it once it takes messages."""
    quiet = ("--without-mingle", "--without-gossip", "-l", "INFO")
    command = ("-m", "celery", "-A", APP, "worker", "-n", f"{name}@test", "-c", "2", *quiet, *options)
    process = site.start_python(*command, PYTHONPATH=str(ROOT), **env)
    wait_for_line(process, r"ready\.")
    return process


def goes_by(site: Site, url: str, **celery: Any) -> None:
    """Have the site's jobs run by Celery through the broker at *url*."""
    site.env |= {"BROKER_URL": url, "TEST_EXECUTOR": "celery", "CELERY": json.dumps(celery)}
    site.crons("sync")
    site.sql("DELETE FROM crons_run")  # what the change of executor closed the accounts with


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[brokers.Redis]:
    """A Redis of the test's own."""
    with brokers.redis(tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    "broker",
    [
        pytest.param("redis", marks=pytest.mark.needs("redis-server")),
        pytest.param("rabbitmq", marks=[pytest.mark.needs("rabbitmq-server"), pytest.mark.slow]),
    ],
)
def test_two_workers_and_two_schedulers_do_each_slot_once(site: Site, tmp_path: Path, broker: str) -> None:
    """Each slot is sent, begun, run and written down once, on one of two workers."""
    running = brokers.rabbitmq(tmp_path) if broker == "rabbitmq" else nullcontext()
    with brokers.redis(tmp_path) if broker == "redis" else running as server:
        site.env["TEST_ENTRIES"] = str(SLOTS)
        site.env["TEST_TRACED_ON"] = "celery"
        goes_by(site, server if isinstance(server, str) else server.url)
        site.make_all_due("traced_%")
        workers = [worker(site, name) for name in ("ann", "bob")]

        schedulers = [site.start("serve") for _ in range(2)]
        site.wait_for_row(
            f"SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) >= {SLOTS}", workers[0]
        )
        for process in [*schedulers, *workers]:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(PATIENCE_SECONDS) for process in schedulers] == [0, 0]
        told = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in workers]

    # By key: an hour may have begun meanwhile, and each entry then has one more slot.
    traces = Counter((entry, key) for entry, key, _ in site.traces() if entry.startswith("traced_"))
    assert set(traces.values()) == {1}
    assert len({entry for entry, _ in traces}) == SLOTS
    hosts = site.sql("SELECT executor, COUNT(DISTINCT pid) FROM crons_attempt GROUP BY executor")
    assert [executor for executor, _ in hosts] == ["celery"]
    assert all("begun: run " in each for each in told)


@pytest.mark.needs("redis-server")
def test_a_broker_that_is_down_holds_up_nothing_and_loses_nothing(site: Site, redis: brokers.Redis) -> None:
    """The tick says so and ends; once the broker is there, a later one sends it, and it is done once."""
    goes_by(site, redis.url)
    redis.stop()
    site.make_due("plain")

    down = site.crons("tick")

    assert "a message was not taken" in down.stderr
    [(state, detail)] = site.sql("SELECT state, detail FROM crons_run")
    assert state == "due"
    assert detail.startswith("could not be sent: ")
    redis.start()
    taker = worker(site, "ann")
    server = site.start("serve")
    site.wait_for_row(DONE.format("plain"), taker)
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_SECONDS) == 0
    assert [entry for entry, _, _ in site.traces() if entry == "plain"] == ["plain"]


@pytest.mark.needs("redis-server")
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_silent_broker_holds_up_no_tick(site: Site, redis: brokers.Redis) -> None:
    """It takes the connection and never answers, as one whose machine swaps: other jobs run meanwhile."""
    goes_by(site, redis.url)
    site.make_due("plain")
    redis.freeze(signal.SIGSTOP)
    try:
        done = site.crons("tick")
        assert "sent" in done.stderr
    finally:
        redis.freeze(signal.SIGCONT)

    [(state, verdict)] = site.sql(
        "SELECT state, verdict FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id WHERE e.name = 'plain'"
    )
    assert (state in ("sent", "due"), verdict) == (True, "")
    taker = worker(site, "ann")
    server = site.start("serve")
    site.wait_for_row(DONE.format("plain"), taker)
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_SECONDS) == 0
    assert [entry for entry, _, _ in site.traces() if entry == "plain"] == ["plain"]


@pytest.mark.needs("redis-server")
@pytest.mark.slow(25)
@pytest.mark.parametrize("late", [False, True], ids=["early acknowledgement", "late acknowledgement"])
def test_a_killed_workers_run_is_lost_and_begun_again_only_where_that_is_harmless(
    site: Site, redis: brokers.Redis, late: bool
) -> None:
    """With late acknowledgement the broker delivers the message again: it stops at begin."""
    os.mkfifo(site.folder / "gate")
    celery = {"task_acks_late": late, "broker_transport_options": {"visibility_timeout": 2}}
    goes_by(site, redis.url, **celery)
    site.make_due("waits_for_release", "waits_harmlessly")
    doomed = worker(site, "doomed")
    site.crons("tick")
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    site.wait_for_row("SELECT COUNT(*) FROM crons_attempt WHERE outcome = '' HAVING COUNT(*) = 2", doomed)

    doomed.kill()
    doomed.wait()
    wait_until_nobody_reads(gate)
    other = worker(site, "other")
    server = site.start("serve")
    os.close(gate)
    os.close(os.open(site.folder / "gate", os.O_WRONLY))  # opens once the second attempt reads
    site.wait_for_row(DONE.format("waits_harmlessly"), other)
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_SECONDS) == 0

    assert site.verdicts("waits_for_release") == [("lost", 1, "lost")]
    assert site.verdicts("waits_harmlessly") == [("succeeded", 2, "lost succeeded")]


@pytest.mark.needs("redis-server")
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_cancelling_and_timeouts_reach_a_worker_and_output_comes_from_it(site: Site, redis: brokers.Redis) -> None:
    """As on the scheduler's own machine."""
    os.mkfifo(site.folder / "gate")
    site.env["TEST_LEASE"] = "15"  # who runs a job hears of a cancellation when it renews
    goes_by(site, redis.url)
    taker = worker(site, "ann")
    site.make_due("waits_for_release")
    site.crons("tick")
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    site.wait_for_row("SELECT 1 FROM crons_attempt WHERE outcome = ''", taker)

    site.crons("cancel", "waits_for_release", "--reason", "enough")

    site.wait_for_row("SELECT 1 FROM crons_run WHERE verdict = 'cancelled'", taker)
    os.close(gate)
    assert site.crons("run", "fails", "--manual", "--wait", check=False).returncode == 1
    assert site.crons("log", "fails", "--stream", "stdout").stdout == "about to fail\n"
    [(error,)] = site.sql("SELECT error FROM crons_attempt WHERE outcome = 'failed'")
    assert "RuntimeError: no luck" in error
    assert "timed out" in site.crons("run", "hangs", "--manual", "--wait", check=False).stderr
    assert site.verdicts("hangs") == [("timed_out", 1, "timed_out")]


@pytest.mark.needs("redis-server")
@pytest.mark.sqlite  # what it shows has nothing to do with the database
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT], ids=["at a deploy", "by Ctrl-C"])
def test_a_worker_that_is_told_to_stop_lets_its_job_end(site: Site, redis: brokers.Redis, by: signal.Signals) -> None:
    """Celery's warm shutdown: nothing is cancelled, and nobody else begins it. Ctrl-C reaches its children as well."""
    os.mkfifo(site.folder / "gate")
    goes_by(site, redis.url)
    taker = worker(site, "ann", TEST_DRAIN="0")
    site.make_due("waits_for_release")
    site.crons("tick")
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    site.wait_for_row("SELECT 1 FROM crons_attempt WHERE outcome = ''", taker)

    if by == signal.SIGINT:
        [(child,)] = site.sql("SELECT pid FROM crons_attempt")
        os.kill(child, by)
    taker.send_signal(by)
    wait_for_line(taker, r"Warm shutdown")
    os.close(gate)

    taker.communicate(timeout=PATIENCE_SECONDS)
    assert site.verdicts("waits_for_release") == [("succeeded", 1, "succeeded")]


@pytest.mark.needs("redis-server")
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_worker_that_is_told_to_stop_at_once_writes_down_how_its_job_ended(site: Site, redis: brokers.Redis) -> None:
    """Celery's cold shutdown: the job has its grace and is cancelled; the message that comes again does nothing."""
    os.mkfifo(site.folder / "gate")
    goes_by(site, redis.url, task_acks_late=True)
    taker = worker(site, "ann", TEST_DRAIN="0.2")
    site.make_due("waits_for_release")
    site.crons("tick")
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    site.wait_for_row("SELECT 1 FROM crons_attempt WHERE outcome = ''", taker)

    taker.send_signal(signal.SIGQUIT)

    wait_until_nobody_reads(gate)
    os.close(gate)
    taker.wait(PATIENCE_SECONDS)
    site.wait_for_row("SELECT 1 FROM crons_run WHERE verdict <> ''", taker)
    assert site.verdicts("waits_for_release") == [("cancelled", 1, "cancelled")]


@pytest.mark.needs("redis-server")
@pytest.mark.slow
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_job_whose_message_is_revoked_is_cancelled_and_only_that_message(site: Site, redis: brokers.Redis) -> None:
    """By `revoke(…, terminate=True)`; workers drop the revoked id for hours, and the next try has another."""
    os.mkfifo(site.folder / "gate")
    goes_by(site, redis.url)
    taker = worker(site, "ann", TEST_DRAIN="0.2")
    site.make_due("waits_for_release", "waits_harmlessly")
    site.crons("tick")
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    site.wait_for_row("SELECT COUNT(*) FROM crons_attempt WHERE outcome = '' HAVING COUNT(*) = 2", taker)

    revoke = f"from {APP} import app; [app.control.revoke(each['id'], terminate=True) for each in "
    revoke += "app.control.inspect(timeout=60, limit=1).active()['ann@test']]"
    revoked = site.python("-c", revoke, PYTHONPATH=str(ROOT))
    assert revoked.returncode == 0, revoked.stderr
    wait_until_nobody_reads(gate)
    os.close(gate)
    site.wait_for_row("SELECT 1 FROM crons_run WHERE state = 'waiting'", taker)
    site.wait_for_row(
        "SELECT 1 FROM crons_run WHERE verdict = 'cancelled' AND detail = 'the worker was stopped'", taker
    )
    site.crons("tick")
    os.close(os.open(site.folder / "gate", os.O_WRONLY))  # opens once the second attempt reads
    site.wait_for_row(DONE.format("waits_harmlessly"), taker)

    assert site.verdicts("waits_for_release") == [("cancelled", 1, "cancelled")]
    assert site.verdicts("waits_harmlessly") == [("succeeded", 2, "cancelled succeeded")]


@pytest.mark.needs("redis-server")
@pytest.mark.slow
@pytest.mark.sqlite  # what it shows has nothing to do with the database
@pytest.mark.parametrize(
    ("options", "celery", "env", "by", "ends"),
    [
        (["--pool=solo"], {}, {}, signal.SIGTERM, "Warm shutdown"),
        (["--pool=solo"], {}, {}, signal.SIGQUIT, "Hitting Ctrl+C again"),  # where Celery itself then stumbles
        ([], {"worker_soft_shutdown_timeout": 0.5}, {}, signal.SIGQUIT, "Initiating Soft Shutdown"),
        ([], {}, {"REMAP_SIGTERM": "SIGQUIT"}, signal.SIGTERM, "Cold shutdown"),
    ],
    ids=["the pool solo", "the pool solo, at once", "Celery's soft shutdown", "SIGTERM as SIGQUIT"],
)
def test_a_worker_without_time_for_its_job_writes_down_that_it_was_cancelled(
    site: Site,
    redis: brokers.Redis,
    options: list[str],
    celery: dict[str, Any],
    env: dict[str, str],
    by: signal.Signals,
    ends: str,
) -> None:
    """There is nobody else in a worker of that pool; and what Celery waits for comes before our grace."""
    os.mkfifo(site.folder / "gate")
    goes_by(site, redis.url, **celery)
    taker = worker(site, "ann", *options, TEST_DRAIN="0.2", **env)
    site.make_due("waits_for_release")
    site.crons("tick")
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    site.wait_for_row("SELECT 1 FROM crons_attempt WHERE outcome = ''", taker)

    taker.send_signal(by)

    wait_until_nobody_reads(gate)
    os.close(gate)
    assert ends in taker.communicate(timeout=PATIENCE_SECONDS)[0]
    assert site.verdicts("waits_for_release") == [("cancelled", 1, "cancelled")]
    assert site.sql("SELECT detail FROM crons_run WHERE verdict <> ''") == [("the worker was stopped",)]


@pytest.mark.needs("redis-server")
@pytest.mark.sqlite  # what it shows has nothing to do with the database
@pytest.mark.parametrize("option", ["--max-tasks-per-child=1", "--max-memory-per-child=1"])
def test_workers_children_that_are_replaced_leave_nothing_behind(site: Site, redis: brokers.Redis, option: str) -> None:
    """Each message meets a new process, which has a fork server of its own."""
    site.env["TEST_ENTRIES"] = "6"
    site.env["TEST_TRACED_ON"] = "celery"
    goes_by(site, redis.url)
    site.make_all_due("traced_%")
    taker = worker(site, "ann", option)
    site.crons("tick")

    site.wait_for_row("SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) >= 6", taker)
    taker.send_signal(signal.SIGTERM)

    assert taker.wait(PATIENCE_SECONDS) == 0
    assert len({entry for entry, _, _ in site.traces()}) == 6
    assert site.sql("SELECT COUNT(*) = COUNT(DISTINCT pid) FROM crons_attempt") == [(1,)]
    instances = [name for (name,) in site.sql("SELECT DISTINCT instance FROM crons_attempt")]
    until = time.monotonic() + PATIENCE_SECONDS
    while not all(is_gone(name, boot_id()) for name in instances):
        assert time.monotonic() < until, instances
        time.sleep(0.05)  # sleeps: fork servers go by themselves when their worker has, and nobody hears of it


@pytest.mark.needs("redis-server")
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_worker_whose_pool_cannot_end_a_job_is_refused_at_its_start(site: Site, redis: brokers.Redis) -> None:
    """Rather than at the first job that hangs."""
    goes_by(site, redis.url)

    refused = site.python("-m", "celery", "-A", APP, "worker", "--pool", "threads", "-c", "2", PYTHONPATH=str(ROOT))

    assert refused.returncode == 1
    assert "The pool 'thread' cannot run jobs of crons (" in refused.stderr
    assert "Start this worker with --pool=prefork" in refused.stderr


@pytest.mark.needs("redis-server")
@pytest.mark.slow
def test_two_projects_that_share_a_broker_run_only_what_is_their_own(
    site: Site, redis: brokers.Redis, tmp_path: Path
) -> None:
    """Run 1 of the one is not run 1 of the other, though both workers read one queue."""
    from tests.databases import own_database

    (tmp_path / "other").mkdir()
    with own_database(tmp_path / "other") as database:
        other = Site(database.migrate(), tmp_path / "other")
        with other.stack:
            other.crons("sync")
            for each in (site, other):
                goes_by(each, redis.url)
                each.make_due("plain", "harmless")
            takers = [worker(site, "ann"), worker(other, "bob")]
            servers = [each.start("serve") for each in (site, other)]
            for each, taker in zip((site, other), takers, strict=True):
                each.wait_for_row(DONE.format("plain"), taker)
                each.wait_for_row(DONE.format("harmless"), taker)
            for server in servers:
                server.send_signal(signal.SIGTERM)
                server.wait(PATIENCE_SECONDS)
            for each in (site, other):
                counted = Counter(entry for entry, _, _ in each.traces())
                assert (counted["plain"], counted["harmless"]) == (1, 1)


@pytest.mark.needs("redis-server")
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_worker_with_old_code_leaves_a_job_it_does_not_know_to_others(site: Site, redis: brokers.Redis) -> None:
    """It says so, and the run waits for a worker that knows the job."""
    goes_by(site, redis.url)
    site.crons("sync", TEST_RELEASE="new")
    site.make_due("only_in_the_new_release")
    old = worker(site, "old")
    site.crons("tick", TEST_RELEASE="new")

    site.wait_for_row("SELECT 1 FROM crons_run WHERE state = 'due' AND SUBSTR(detail, 1, 11) = 'a worker on'", old)
    [(detail,)] = site.sql("SELECT detail FROM crons_run WHERE state = 'due' AND sends > 0")
    assert detail.endswith(" does not know the job 'only_in_the_new_release': is its code older?")
    old.send_signal(signal.SIGTERM)
    assert old.wait(PATIENCE_SECONDS) == 0
    new = worker(site, "new", TEST_RELEASE="new")
    site.sql("UPDATE crons_run SET wake_at = planned_at WHERE state = 'due'")
    site.crons("tick", TEST_RELEASE="new")
    name = "only_in_the_new_release"
    site.wait_for_row(DONE.format(name), new)
    assert [entry for entry, _, _ in site.traces() if entry == name] == [name]


@pytest.mark.needs("redis-server")
def test_killed_between_marking_and_sending(site: Site, redis: brokers.Redis) -> None:
    """The run is nobody's: it is sent again, to be done once."""
    goes_by(site, redis.url)
    site.make_due("plain")

    site.crash("marked as sent, not sent", "tick")

    assert site.sql("SELECT state, sends FROM crons_run") == [("sent", 1)]
    assert "1 sent" not in site.crons("tick").stderr  # its pause is not over
    taker = worker(site, "ann")
    site.sql("UPDATE crons_run SET wake_at = planned_at")
    assert "1 sent" in site.crons("tick").stderr
    site.wait_for_row(DONE.format("plain"), taker)
    assert [entry for entry, _, _ in site.traces()] == ["plain"]


@pytest.mark.needs("redis-server")
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_line_of_an_entry_sends_again_what_is_lost(site: Site, redis: brokers.Redis) -> None:
    """Where such lines are the only trigger, no later slot would be sent: they keep their order."""
    goes_by(site, redis.url)
    site.make_due("plain")
    site.crons("run", "plain", "--scheduled")
    assert site.sql("SELECT state, sends FROM crons_run") == [("sent", 1)]
    redis.stop()
    redis.start()
    site.sql("UPDATE crons_run SET wake_at = planned_at, slot_at = DATETIME(slot_at, '-1 hour')")
    site.make_due("plain")

    site.crons("run", "plain", "--scheduled", check=False)

    assert site.sql("SELECT state, sends FROM crons_run ORDER BY id") == [("sent", 2), ("due", 0)]
    taker = worker(site, "ann")
    site.wait_for_row(DONE.format("plain"), taker)
    site.crons("run", "plain", "--scheduled")
    site.wait_for_row("SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) = 2", taker)
    assert [entry for entry, _, _ in site.traces()] == ["plain", "plain"]


@pytest.mark.needs("redis-server")
@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_route_leads_past_workers_of_other_queues(site: Site, redis: brokers.Redis) -> None:
    """A worker for what is slow must not stand before what is quick, and the other way round."""
    site.env |= {"TEST_ENTRIES": "3", "TEST_TRACED_ON": "celery", "TEST_QUEUE": "slow"}
    goes_by(site, redis.url)
    site.make_all_due("traced_%")
    (until,) = site.sql("SELECT accounted_until FROM crons_entry WHERE name = 'traced_0000'")[0]
    site.sql("UPDATE crons_entry SET accounted_until = %s, wake_at = NULL WHERE name = 'plain'", until)

    quick = worker(site, "quick")
    site.crons("tick")
    site.wait_for_row(DONE.format("plain"), quick)
    assert [entry for entry, _, _ in site.traces()] == ["plain"]
    slow = worker(site, "slow", "-Q", "slow")
    for number in range(3):
        site.wait_for_row(DONE.format(f"traced_{number:04}"), slow)
