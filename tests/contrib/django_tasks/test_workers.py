"""The executor tasks with django-tasks-db and its workers: whatever becomes of messages, each slot is done once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS, Site, wait_for_line, wait_until_nobody_reads

SLOTS = 20
DONE = "SELECT 1 FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id WHERE e.name = '{}' AND verdict = '{}'"


def worker(site: Site, **env: str) -> subprocess.Popen[str]:
    """Start a db_worker and return it once it looks at the queue."""
    options = ("--no-reload", "--no-startup-delay", "--interval", "0.1", "--queue-name", "default,slow")
    process = site.start_python(str(site.manage_py), "db_worker", *options, **env)
    wait_for_line(process, "Starting worker")
    return process


def stop(*processes: subprocess.Popen[str]) -> None:
    """End them as an operator does."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(PATIENCE_SECONDS) for process in processes] == [0] * len(processes)


@pytest.fixture
def queue(site: Site) -> Site:
    """The site, with the queue of django-tasks-db beside the ledger."""
    site.env |= {"TEST_TASKS": "default,slow", "TEST_EXECUTOR": "tasks", "TEST_LEASE": "15"}
    migrated = site.python(str(site.manage_py), "migrate", "--no-input", "--verbosity=0")
    assert migrated.returncode == 0, migrated.stderr
    site.crons("sync")
    site.sql("DELETE FROM crons_run")  # what the change of executor closed the accounts with
    return site


@pytest.mark.slow(35)
def test_two_workers_and_two_schedulers_do_each_slot_once(queue: Site) -> None:
    """One worker is killed in the middle and started again: what it ran is lost, all else is done, nothing twice."""
    queue.env |= {"TEST_ENTRIES": str(SLOTS), "TEST_TRACED_ON": "tasks"}
    queue.crons("sync")
    queue.sql("DELETE FROM crons_run")
    queue.make_all_due("traced_%")
    first, doomed = worker(queue), worker(queue)
    schedulers = [queue.start("serve") for _ in range(2)]
    queue.wait_for_row("SELECT COUNT(*) FROM crons_run WHERE verdict = 'succeeded' HAVING COUNT(*) >= 5", first)

    doomed.kill()
    doomed.wait()
    again = worker(queue)
    queue.wait_for_row(f"SELECT COUNT(*) FROM crons_run WHERE state = 'done' HAVING COUNT(*) >= {SLOTS}", first)
    stop(*schedulers, first, again)

    verdicts = Counter(verdict for (verdict,) in queue.sql("SELECT verdict FROM crons_run"))
    traces = Counter(entry for entry, _, _ in queue.traces())
    assert verdicts["succeeded"] + verdicts["lost"] == SLOTS
    assert verdicts["lost"] <= 1
    assert set(traces.values()) == {1}
    assert len(traces) >= verdicts["succeeded"]
    assert queue.sql("SELECT DISTINCT executor FROM crons_attempt") == [("tasks",)]


def test_a_killed_workers_run_is_begun_again_only_where_that_is_harmless(queue: Site) -> None:
    """Its message stays with the backend for ever: the ledger sends another."""
    os.mkfifo(queue.folder / "gate")
    queue.make_due("waits_harmlessly")
    doomed = worker(queue)
    queue.crons("tick")
    gate = os.open(queue.folder / "gate", os.O_WRONLY)
    queue.wait_for_row("SELECT 1 FROM crons_attempt WHERE outcome = ''", doomed)

    doomed.kill()
    doomed.wait()
    wait_until_nobody_reads(gate)
    other = worker(queue)
    server = queue.start("serve")
    os.close(gate)
    os.close(os.open(queue.folder / "gate", os.O_WRONLY))  # opens once the second attempt reads
    queue.wait_for_row(DONE.format("waits_harmlessly", "succeeded"), other)
    stop(server, other)

    assert queue.verdicts("waits_harmlessly") == [("succeeded", 2, "lost succeeded")]


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_worker_that_is_told_to_stop_ends_its_job_and_then_itself(queue: Site) -> None:
    """As at each deploy: the job has its grace, is cancelled, and all of that is written down."""
    os.mkfifo(queue.folder / "gate")
    queue.make_due("waits_for_release")
    taker = worker(queue, TEST_DRAIN="0.2")
    queue.crons("tick")
    gate = os.open(queue.folder / "gate", os.O_WRONLY)
    queue.wait_for_row("SELECT 1 FROM crons_attempt WHERE outcome = ''", taker)

    stop(taker)

    wait_until_nobody_reads(gate)
    os.close(gate)
    assert queue.verdicts("waits_for_release") == [("cancelled", 1, "cancelled")]
    assert queue.sql("SELECT status FROM django_tasks_database_dbtaskresult") == [("SUCCESSFUL",)]


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_task_that_a_project_has_is_put_on_a_schedule(queue: Site) -> None:
    """On its own queue, with its priority and its arguments; enqueued by hand it goes on as before."""
    queue.make_due("counted")
    queue.crons("tick")
    sent = queue.sql("SELECT task_path, queue_name, priority, status FROM django_tasks_database_dbtaskresult")
    taker = worker(queue)

    queue.wait_for_row(DONE.format("counted", "succeeded"), taker)
    stop(taker)

    assert sent == [("crons.contrib.django_tasks.worker.run", "slow", 5, "READY")]
    assert [entry for entry, _, _ in queue.traces()] == ["counted"] * 3
    [(told,)] = queue.sql("SELECT CAST(return_value AS TEXT) FROM django_tasks_database_dbtaskresult")
    assert told.startswith('"begun: run ')


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_worker_that_takes_messages_in_a_thread_says_so_and_runs_nothing(queue: Site) -> None:
    """db_worker does where DEBUG is on, unless told --no-reload."""
    queue.make_due("plain")
    queue.crons("tick")
    options = ("--reload", "--no-startup-delay", "--interval", "0.1")
    threaded = queue.start_python(str(queue.manage_py), "db_worker", *options)

    told = "SELECT 1 FROM crons_run WHERE state = 'due' AND detail LIKE '%in a thread%db_worker with --no-reload'"
    queue.wait_for_row(told.replace("%", "%%") if queue.database.vendor != "sqlite" else told, threaded)

    assert queue.traces() == []
    for child in Path(f"/proc/{threaded.pid}/task/{threaded.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)  # the reloader's own process, which it would leave behind
    taker = worker(queue)
    queue.sql("UPDATE crons_run SET wake_at = planned_at WHERE state = 'due'")
    queue.crons("tick")
    queue.wait_for_row(DONE.format("plain", "succeeded"), taker)
    assert [entry for entry, _, _ in queue.traces()] == ["plain"]


@pytest.mark.sqlite  # what it shows has nothing to do with the database
def test_a_worker_with_old_code_leaves_a_job_it_does_not_know_to_others(queue: Site) -> None:
    """It says so, and the run waits for a worker that knows the job."""
    name = "only_in_the_new_release"
    queue.crons("sync", TEST_RELEASE="new")
    queue.make_due(name)
    old = worker(queue)
    queue.crons("tick", TEST_RELEASE="new")
    found = "SELECT detail FROM crons_run WHERE state = 'due' AND sends = 1"
    queue.wait_for_row(found, old)
    [(told,)] = queue.sql(found)
    stop(old)

    new = worker(queue, TEST_RELEASE="new")
    queue.sql("UPDATE crons_run SET wake_at = planned_at WHERE state = 'due'")
    queue.crons("tick", TEST_RELEASE="new")
    queue.wait_for_row(DONE.format(name, "succeeded"), new)

    assert "does not know the job 'only_in_the_new_release': is its code older?" in told
    assert [entry for entry, _, _ in queue.traces()] == [name]


def test_a_copy_of_the_database_runs_none_of_the_messages_in_it(queue: Site) -> None:
    """A queue in the database is copied with it: the worker there is refused, and says where it belongs."""
    queue.make_due("plain")
    queue.crons("tick")

    batch = (str(queue.manage_py), "db_worker", "--no-reload", "--batch")
    told = queue.python(*batch, TEST_IDENTITY="staging")

    assert told.returncode == 0
    [(failed,)] = queue.sql("SELECT exception_class_path FROM django_tasks_database_dbtaskresult")
    assert failed == "crons.exceptions.NotAdopted"
    assert queue.traces() == []
    assert queue.verdicts("plain") == [("sent", 0, "")]
