"""What holds of executors that are elsewhere: messages may double, be early or be lost, and workers may die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from crons.verdicts import Outcome
from tests.contracts import promises
from tests.contracts.hosting import Gate, Trail
from tests.contracts.selection import of
from tests.contracts.workers import Station, WorkerHost

# What the ledger does with such messages is tried on both databases by tests/crons/test_send.py: here one test of
# messages, one of fenced writes and one of deaths show on PostgreSQL that workers use it as they do on SQLite.
workers = of(promises.ELSEWHERE)
workers_on_each_database = pytest.mark.parametrize(
    "alias", [pytest.param("celery", marks=pytest.mark.needs("redis-server")), "tasks"]
)
AGAIN = {"idempotent": True, "retry_seconds": 0}


@pytest.fixture
def host(alias: str, station: Station) -> Iterator[WorkerHost]:
    """Has runs begun by a worker; after the test there is one that does the next run."""
    yield WorkerHost(alias, station)
    station.dying_file.unlink(missing_ok=True)
    assert WorkerHost(alias, station).run("noop").outcome == Outcome.SUCCEEDED


# Messages


@workers_on_each_database
def test_a_message_that_comes_twice_begins_one_attempt(host: WorkerHost, gate: Gate) -> None:
    """While the first runs, and when it is over: both stop at begin."""
    run = host.start("waits_at_gate", gate=gate.path)
    host.until(lambda: host.text(run) == "waiting\n")
    host.send_again(run)
    if host.alias == "celery":  # two processes of its pool: the other one has this message meanwhile
        host.wait_for_log(rf"over: run {run} of \S+ is running already")
    gate.open()
    ending = host.ending(run)
    host.send_again(run)

    host.wait_for_log(rf"over: run {run} of \S+ is succeeded already")
    assert (ending.outcome, host.attempts(run)) == (Outcome.SUCCEEDED, ["succeeded"])


@workers
def test_a_message_that_is_there_before_its_run_does_nothing_and_takes_nothing_away(host: WorkerHost) -> None:
    """As one that is sent from inside a transaction whose commit comes later."""
    early = host.station.ask("send_ahead", executor=host.alias)
    host.wait_for_log(rf"over: run {early} does not exist any more")

    run = host.start("noop")

    assert run == early
    assert host.ending(run).outcome == Outcome.SUCCEEDED
    assert host.attempts(run) == ["succeeded"]


@workers
def test_a_worker_that_does_not_know_the_job_leaves_it_to_others(host: WorkerHost) -> None:
    """Its code may be older: that is no try, and no failure."""
    run = host.start("of_another_release")

    host.until(lambda: "does not know the job 'of_another_release'" in host.row(run)["detail"])
    assert (host.row(run)["state"], host.attempts(run)) == ("due", [])
    host.cancel(run, "nobody knows it")
    assert host.conclude(run) == "cancelled"


@of(["celery"])
@pytest.mark.parametrize("silent_first", [False, True], ids=["down", "silent, then down"])
def test_what_was_being_sent_when_the_broker_died_is_done_once(
    host: WorkerHost, tmp_path: Path, silent_first: bool
) -> None:
    """One message is in the publisher's hands, the others wait behind it; the broker comes back without any."""
    redis = host.station.redis
    if silent_first:
        redis.freeze(signal.SIGSTOP)
    else:
        redis.stop()
    runs = [host.start("adds_its_number", path=str(tmp_path / "done")) for _ in range(5)]
    if silent_first:
        redis.stop()
    redis.start()

    def are_begun() -> bool:
        waiting = [run for run in runs if not host.attempts(run)]
        for run in waiting:
            host.make_due(run)  # what went down with the broker would be sent again after half a minute
        return not waiting

    host.until(are_begun)
    for run in runs:
        host.conclude(run)

    assert [host.attempts(run) for run in runs] == [["succeeded"]] * 5
    assert (tmp_path / "done").read_text() == "1\n" * 5


# Attempts


@workers
def test_a_retry_is_the_next_attempt_with_the_same_key(host: WorkerHost) -> None:
    run = host.start("fails_at_first", how={"retry_seconds": 0})

    assert host.conclude(run) == "succeeded"
    assert host.attempts(run) == ["failed", "succeeded"]
    assert host.text(run) == f"{host.begun(run).key}\n" * 2


@workers
def test_what_is_written_in_context_atomic_is_there(host: WorkerHost, gate: Gate, trail: Trail) -> None:
    run = host.start("writes_fenced", gate=gate.path, path=trail.path)
    gate.open()

    assert host.ending(run).outcome == Outcome.SUCCEEDED
    assert host.station.ask("audited", actor=host.begun(run).entry) == ["first", "second"]


@workers_on_each_database
def test_an_attempt_that_was_declared_lost_writes_nothing_more(host: WorkerHost, gate: Gate, trail: Trail) -> None:
    """Whether its worker hears of it first or its job comes to the next write."""
    run = host.start("writes_fenced", gate=gate.path, path=trail.path)
    host.until(lambda: host.text(run) == "waiting\n")

    host.disown(run)
    gate.open_for_who_is_there()

    host.silence(trail)
    assert host.station.ask("audited", actor=host.begun(run).entry) == ["first"]
    assert (host.row(run)["verdict"], host.attempts(run)) == ("lost", ["lost"])


# Workers that die


@workers
@pytest.mark.parametrize("whom", ["the worker", "who runs it"])
@pytest.mark.parametrize("how", [{}, AGAIN], ids=["once", "idempotent"])
def test_a_killed_worker_takes_its_job_along(host: WorkerHost, trail: Trail, whom: str, how: dict[str, object]) -> None:
    """It is lost at once, for its machine knows; another worker begins it again only where that is harmless."""
    run = host.start("leaves_daemon", path=trail.path, end="wait", how=how)
    host.lines(trail, 2)
    [attempt] = host.row(run)["attempts"]

    if whom == "the worker":
        host.worker.kill()
    else:
        os.kill(attempt["pid"], signal.SIGKILL)
    host.silence(trail)
    host.until(lambda: host.attempts(run)[0] == "lost")
    if host.alias == "tasks" or whom == "the worker":
        host.worker.process.wait()
    host.revive()

    if how:
        host.lines(trail, 4)
        host.cancel(run, "seen")
        assert (host.conclude(run), host.attempts(run)) == ("cancelled", ["lost", "cancelled"])
    assert host.row(run)["verdict"] == ("cancelled" if how else "lost")
    assert len(trail.lines()) == (4 if how else 2)


@workers_on_each_database
@pytest.mark.parametrize(
    ("point", "attempts", "done"),
    [
        pytest.param("before begin", ["succeeded"], 1, marks=pytest.mark.sqlite),
        ("begun, not started", ["lost"], 0),
        pytest.param("ended, not written", ["lost"], 1, marks=pytest.mark.sqlite),
        pytest.param("written", ["succeeded"], 1, marks=pytest.mark.sqlite),
    ],
)
def test_a_worker_that_dies_at_any_point_leaves_a_true_verdict(
    host: WorkerHost, tmp_path: Path, point: str, attempts: list[str], done: int
) -> None:
    """A run that nobody has begun is sent again; one that may have run is lost, and none runs twice."""
    host.station.dying_file.write_text(f"{point}: SIGKILL")
    run = host.start("adds_its_number", path=str(tmp_path / "done"))
    host.until(lambda: not host.station.dying_file.exists())
    if host.alias == "tasks":
        host.worker.process.wait()
    host.revive()

    host.make_due(run)

    assert host.conclude(run) == attempts[-1]
    assert host.attempts(run) == attempts
    assert (tmp_path / "done").exists() == bool(done)
    assert not done or (tmp_path / "done").read_text() == "1\n"


@workers
def test_a_worker_that_is_told_to_stop_while_it_begins_sees_that_run_through(host: WorkerHost, tmp_path: Path) -> None:
    """The signal comes between the message and the attempt: it waits for that one, and then goes."""
    host.station.dying_file.write_text("before begin: SIGTERM")
    run = host.start("adds_its_number", path=str(tmp_path / "done"))

    assert host.conclude(run) == "succeeded"
    assert host.attempts(run) == ["succeeded"]
    if host.alias == "tasks":
        assert host.worker.process.wait() == 0
