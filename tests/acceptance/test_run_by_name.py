"""`crons run NAME` where it is the only trigger there is."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.conftest import HOURLY, PATIENCE_SECONDS, Site, wait_until_nobody_reads

BY_BEAT = "import django; django.setup(); from crons.contrib.celery.beat import trigger as beat; print(beat.{})"


def make_due_again(site: Site, entry: str) -> None:
    """Have the one run of the entry be of an hour before, so that the slot of this hour is to come."""
    back = "DATETIME(slot_at, '-1 hour')" if site.database.vendor == "sqlite" else "slot_at - interval '1 hour'"
    site.sql(f"UPDATE crons_run SET slot_at = {back}, planned_at = {back}")
    site.make_due(entry)


@pytest.mark.parametrize(
    ("entry", "before"),
    [("waits_for_release", ("lost", 1, "lost")), ("waits_harmlessly", ("superseded", 1, "lost"))],
)
def test_a_job_that_was_killed_is_not_in_the_way_of_all_slots_to_come(
    site: Site, entry: str, before: tuple[str, int, str]
) -> None:
    """After a power failure the next line finds it lost; nobody else looks."""
    os.mkfifo(site.folder / "gate")
    site.make_due(entry)
    killed = site.start("run", entry, "--scheduled")
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    site.wait_for_row("SELECT 1 FROM crons_attempt WHERE outcome = ''", killed)
    killed.kill()
    killed.wait()
    wait_until_nobody_reads(gate)
    os.close(gate)
    make_due_again(site, entry)

    line = site.start("run", entry, "--scheduled")
    os.close(os.open(site.folder / "gate", os.O_WRONLY))  # opens once it reads
    told = line.communicate(timeout=PATIENCE_SECONDS)[0]

    assert line.returncode == 0, told
    assert site.verdicts(entry) == [before, ("succeeded", 1, "succeeded")]


@pytest.mark.parametrize(
    ("entry", "code", "verdict"),
    [("waits_for_release", 1, ("lost", 1, "lost")), ("waits_harmlessly", 0, ("succeeded", 2, "lost succeeded"))],
)
def test_who_waits_for_a_run_notices_that_it_was_killed(
    site: Site, entry: str, code: int, verdict: tuple[str, int, str]
) -> None:
    """It waited for ever, without a word; it is the only one that looks, so it takes the run up where it may."""
    os.mkfifo(site.folder / "gate")
    site.make_due(entry)
    killed = site.start("run", entry, "--scheduled")
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    site.wait_for_row("SELECT 1 FROM crons_attempt WHERE outcome = ''", killed)
    os.write(gate, b"halfway\n")
    waits = site.start("run", entry, "--scheduled", "--wait")
    assert waits.stdout is not None
    first = waits.stdout.readline()  # it follows: that line is of the other's job
    killed.kill()
    killed.wait()
    wait_until_nobody_reads(gate)
    os.close(gate)

    if code == 0:
        os.close(_open_once_it_reads(site.folder / "gate", waits))
    told = waits.communicate(timeout=PATIENCE_SECONDS)[0]

    assert first == "halfway\n"
    assert "was killed" in told
    assert (waits.returncode, site.verdicts(entry)) == (code, [verdict]), told


def _open_once_it_reads(gate: Path, process: subprocess.Popen[str]) -> int:
    """Open the pipe to a job that *process* runs; fail where that ends before."""
    while process.poll() is None:
        with suppress(OSError):  # nobody reads yet
            return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.05)  # sleeps: a pipe tells nobody of its reader
    raise AssertionError(process.communicate()[0])


@pytest.mark.parametrize("order", ["", "no luck"], ids=["overtaken", "tried again"])
def test_a_retry_whose_pause_was_long_is_taken_up_by_the_next_line(site: Site, order: str) -> None:
    """No line stays for it; without another trigger it would wait for ever."""
    (site.folder / "orders").write_text("no luck")
    entry = "does_as_told_each_hour"
    site.make_due(entry)
    first = site.crons("run", entry, "--scheduled", check=False)
    site.sql("UPDATE crons_run SET wake_at = planned_at WHERE state = 'waiting'")
    make_due_again(site, entry)
    (site.folder / "orders").write_text(order)

    second = site.crons("run", entry, "--scheduled", check=False)

    assert "it is tried again at" in first.stderr
    assert second.returncode == (1 if order else 0)
    early, late = site.verdicts(entry)
    assert early == (("waiting", 2, "failed failed") if order else ("superseded", 1, "failed"))
    assert late == (("waiting", 1, "failed") if order else ("succeeded", 1, "succeeded"))


def test_beat_leaves_such_a_retry_to_its_tick(site: Site) -> None:
    """Whoever tells a worker to end waits for the message at hand: it is of one slot, not of all that is left."""
    (site.folder / "orders").write_text("no luck")
    entry = "does_as_told_each_hour"
    site.make_due(entry)
    site.crons("run", entry, "--scheduled", check=False)
    site.sql("UPDATE crons_run SET wake_at = planned_at WHERE state = 'waiting'")
    make_due_again(site, entry)

    fired = site.python("-c", BY_BEAT.format(f"fire({entry!r})"))
    after_message = site.verdicts(entry)
    ticked = site.python("-c", BY_BEAT.format("tick()"))

    assert fired.returncode == 0, fired.stderr
    assert after_message == [("waiting", 1, "failed"), ("waiting", 1, "failed")]
    assert ticked.stdout == "0 slot(s) recorded, 0 missed or skipped, 1 attempt(s) begun, 0 found lost, 0 sent\n", (
        ticked.stderr
    )
    assert site.verdicts(entry) == [("waiting", 2, "failed failed"), ("waiting", 1, "failed")]


def test_a_crontab_line_alone_catches_up_on_every_slot(site: Site) -> None:
    """Older slots of catch_up="all" wait their turn: without another trigger the line itself has to run them."""
    site.sql("UPDATE crons_entry SET schedule = %s WHERE name = 'each_second'", HOURLY)
    site.make_due("each_second")
    back = "DATETIME(accounted_until, '-4 hours')"
    if site.database.vendor == "postgresql":
        back = "accounted_until - interval '4 hours'"
    site.sql(f"UPDATE crons_entry SET accounted_until = {back} WHERE name = 'each_second'")

    site.crons("run", "each_second", "--scheduled")

    assert site.verdicts("each_second") == [("succeeded", 1, "succeeded")] * 5
    assert len(site.traces()) == 5


def test_a_retry_that_is_near_is_waited_for_and_said_once(site: Site) -> None:
    """The exit code is the verdict, so the trigger stays; it says so once, not twice a second."""
    done = site.crons("run", "fails_with_pauses", "--manual", check=False)

    told = [line for line in done.stderr.splitlines() if "again at" in line]
    assert done.returncode == 1
    assert [line.partition("again at")[0] for line in told] == [
        "run 1 of fails_with_pauses: try 1 failed: RuntimeError: no luck today; ",
        "run 1 of fails_with_pauses: try 2 failed: RuntimeError: no luck today; ",
    ]
    assert done.stderr.splitlines()[-1] == "run 1 of fails_with_pauses: failed: RuntimeError: no luck today"
    assert site.verdicts("fails_with_pauses") == [("failed", 3, "failed failed failed")]
