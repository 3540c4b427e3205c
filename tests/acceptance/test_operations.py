"""What an operator types, in real processes on a real database."""

from __future__ import annotations

import os
import re
import signal
from datetime import timedelta

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS, Site, wait_for_line


def test_a_failed_run_is_mended_and_tried_again_with_its_key(site: Site) -> None:
    """Retry is one transaction: what a crash leaves after it is a run that anybody begins."""
    orders = site.folder / "orders"
    orders.write_text("no mail server")
    site.crons("run", "does_as_told", "--manual", check=False)
    [(run,)] = site.sql("SELECT id FROM crons_run")
    orders.write_text("")

    site.crons("retry", str(run), "--reason", "it is back")
    site.crash("before begin commits", "tick")
    site.crons("tick")

    assert site.verdicts("does_as_told") == [("succeeded", 2, "failed succeeded")]


def test_a_hole_is_filled_once_by_racing_ticks(site: Site) -> None:
    """Two fill the same span, two look at the clock, one dies: each slot has one success under its own key."""
    last = site.keep_off_the_hour() - timedelta(hours=1)
    span = ("--since", (last - timedelta(hours=3)).isoformat(), "--until", last.isoformat(), "--yes")
    fillers = [site.start("backfill", "harmless", *span) for _ in range(2)]
    assert [filler.wait(PATIENCE_SECONDS) for filler in fillers] == [0, 0]

    site.crash("begun, not started", "tick")
    ticks = [site.start("tick") for _ in range(2)]
    assert [tick.wait(PATIENCE_SECONDS) for tick in ticks] == [0, 0]
    site.crons("tick")

    assert [verdict for verdict, _, _ in site.verdicts("harmless")] == ["succeeded"] * 3
    keys = [key for entry, key, _ in site.traces() if entry == "harmless"]
    assert sorted(set(keys)) == [f"harmless@{last - timedelta(hours=ago):%Y-%m-%dT%H:%M:%SZ}" for ago in (3, 2, 1)]
    assert len(keys) == 3


def test_a_run_is_followed_to_its_end(site: Site) -> None:
    """What it writes comes as it is written; the one who follows ends as the job did."""
    os.mkfifo(site.folder / "gate")
    site.env["TEST_LEASE"] = "15"  # who runs a job hears of a cancellation when it renews
    site.make_due("waits_for_release")
    tick = site.start("tick")
    gate = os.open(site.folder / "gate", os.O_WRONLY)  # opens once the job reads
    follower = site.start("log", "waits_for_release", "--follow")

    cancelled = site.crons("cancel", "waits_for_release", "--reason", "enough")

    assert "was asked to stop" in cancelled.stdout
    # Its slot was half an hour ago: whoever follows it reads that it was late.
    assert re.search(r"waits_for_release: cancelled, .* late: enough \(by ", wait_for_line(follower, "cancelled"))
    assert follower.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
    assert tick.wait(PATIENCE_SECONDS) == 0
    os.close(gate)


def test_ctrl_c_at_a_follower_leaves_the_run(site: Site) -> None:
    """The terminal's signal is for the one who looks."""
    site.make_due("plain")
    site.crash("recorded, not begun", "tick")
    follower = site.start("log", "plain", "--follow")
    wait_for_line(follower, r"waits: for a free place, or for a process that knows the job 'plain'\.")

    follower.send_signal(signal.SIGINT)

    wait_for_line(follower, r"^run \d+ goes on\. See: manage\.py crons show \d+$")
    assert follower.wait(PATIENCE_SECONDS) == 130
    site.crons("tick")
    assert site.verdicts("plain") == [("succeeded", 1, "succeeded")]


FULL = """
import resource, sys
from django.core.management import execute_from_command_line
resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))
execute_from_command_line(["manage.py", "crons", "prune"])
"""


@pytest.mark.sqlite
def test_a_prune_that_finds_the_disk_full_leaves_whole_runs(site: Site) -> None:
    """SQLite needs room to delete: it is said so, nothing is half gone, and the next night does it."""
    made = site.python("-m", "tests.acceptance.rival_rows", "1", "300", "old")
    assert made.returncode == 0, made.stderr

    full = site.python("-c", FULL)
    left = [site.sql(f"SELECT COUNT(*) FROM crons_{table}") for table in ("run", "attempt", "outputchunk")]
    again = site.crons("prune")

    assert (full.returncode, full.stdout) == (1, "")
    assert full.stderr.startswith("CommandError: the database did not answer: ")
    assert "Traceback" not in full.stderr
    assert left == [[(300,)]] * 3
    assert again.stdout == "deleted: 299 failed run(s)\n"
