"""Which processes may fire: not those of a copy, not those that are switched off, not those with old code."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.acceptance.conftest import Site, wait_for_line, wait_until_nobody_reads

FIRING = [("tick",), ("serve",), ("run", "plain", "--scheduled"), ("run", "plain", "--manual")]


@pytest.fixture
def copied(site: Site, tmp_path: Path) -> Iterator[Callable[[], Site]]:
    """Copy the site's database to another place, as a dump of production lands on a laptop."""
    with databases.copies(site.database) as copy:

        def make() -> Site:
            folder = tmp_path / "elsewhere"
            folder.mkdir()
            made = Site(copy(folder), folder)
            site.stack.callback(made.stack.close)
            return made

        yield make


def test_a_copy_fires_nothing_until_it_is_adopted(site: Site, copied: Callable[[], Site]) -> None:
    """Whoever restores production's data on a laptop must not send production's mail."""
    site.make_due()
    site.crons("tick")
    site.make_due("plain")
    copy = copied()

    refused = [copy.crons(*arguments, check=False) for arguments in FIRING]
    nothing = rows(copy)
    adopted = copy.crons("adopt", "--yes")
    copy.crons("tick")
    site.crons("tick")

    ((home,),) = site.sql("SELECT described FROM crons_deployment")
    ((elsewhere,),) = copy.sql("SELECT described FROM crons_deployment")
    assert home != elsewhere
    for done in refused:
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == (
            f"CommandError: this database was adopted by another deployment ({home}) and this one is {elsewhere}: "
            "nothing is recorded or begun, so that a copy fires nothing. "
            "If it is meant to run here from now on: manage.py crons adopt\n"
        )
    assert nothing == (0, 0, 0, 0)
    assert len(copy.traces()) == len(site.traces()) == 1
    assert home in adopted.stdout
    assert elsewhere in adopted.stdout
    # Both places fire on their own: the copy's adoption is not the original's loss.
    assert copy.verdicts("plain") == site.verdicts("plain") == [("succeeded", 1, "succeeded")]


def test_a_scheduler_stops_firing_when_its_database_is_adopted_by_another(site: Site) -> None:
    """adopt promises that the other place stops: one that runs already must hear of it."""
    site.make_due()
    site.crons("adopt", "--yes", TEST_IDENTITY="blue")
    process = site.start("serve", TEST_IDENTITY="blue")
    wait_for_line(process, "crons serve: pid")

    site.crons("adopt", "--yes", TEST_IDENTITY="green")
    told = wait_for_line(process, "adopted by another deployment")
    site.make_due("plain")
    wait_for_line(process, "adopted by another deployment")
    process.send_signal(signal.SIGTERM)
    output = process.communicate()[0]

    assert "green" in told
    assert process.returncode == 0, output
    assert site.verdicts("plain") == []
    site.crons("tick", TEST_IDENTITY="green")
    assert site.verdicts("plain") == [("succeeded", 1, "succeeded")]


@pytest.mark.parametrize("arguments", FIRING)
def test_switched_off_means_nothing_fires(site: Site, arguments: tuple[str, ...]) -> None:
    """One variable for the minute in which nobody knows what is going on."""
    site.make_due("plain")

    done = site.crons(*arguments, check=False, CRONS_ENABLED="0")

    assert done.returncode == 1
    assert done.stderr == (
        'CommandError: CRONS["ENABLED"] (or CRONS_ENABLED in the environment) is off: nothing is recorded or begun.\n'
    )
    assert rows(site) == (0, 0, 0, 0)
    site.crons("tick")
    assert site.verdicts("plain") == [("succeeded", 1, "succeeded")]


def test_a_pause_from_another_process_holds_for_a_running_scheduler(site: Site) -> None:
    """Slots of the pause have their verdict; those after it run."""
    os.mkfifo(site.folder / "told")
    told = os.open(site.folder / "told", os.O_RDWR)
    site.make_due()
    site.sql("UPDATE crons_entry SET wake_at = NULL WHERE name = 'each_second'")
    process = site.start("serve", TRACES=str(site.folder / "told"))
    with os.fdopen(told) as traces:
        traces.readline()

        site.crons("pause", "each_second", "--reason", "warehouse moves")
        ((paused_at,),) = site.sql("SELECT paused_at FROM crons_entry WHERE name = 'each_second'")
        # A slot that fell due while the pause waited for the entry's lock may have been recorded before it.
        ((known,),) = site.sql("SELECT COALESCE(MAX(id), 0) FROM crons_run")
        site.wait_for_row("SELECT 1 FROM crons_range", process)
        site.crons("resume", "each_second")
        drained = traces.readline()

        process.send_signal(signal.SIGTERM)
        output = process.communicate()[0]

    assert drained
    assert process.returncode == 0, output
    within = "id > %s AND slot_at > %s AND slot_at <= (SELECT MAX(last_at) FROM crons_range)"
    assert site.sql(f"SELECT COUNT(*) FROM crons_run WHERE {within}", known, paused_at) == [(0,)]
    assert {row[0] for row in site.sql("SELECT reason FROM crons_range")} == {"paused"}
    assert site.sql("SELECT verb FROM crons_auditevent ORDER BY id") == [("pause",), ("resume",)]


def test_a_cancel_from_another_process_kills_the_job_at_the_next_renewal(site: Site) -> None:
    """The scheduler goes on; only the run that somebody named ends, with who did it and why."""
    os.mkfifo(site.folder / "gate")
    site.make_due("waits_for_release")
    process = site.start("serve", TEST_LEASE="15")  # heard of at a quarter of it, killed at four fifths
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    ((run,),) = site.sql("SELECT id FROM crons_run")

    asked = site.crons("cancel", str(run), "--reason", "wrong list")
    wait_until_nobody_reads(gate)
    os.close(gate)
    process.send_signal(signal.SIGTERM)
    output = process.communicate()[0]

    assert process.returncode == 0, output
    assert asked.stdout == (f"run {run} of waits_for_release was asked to stop. See: manage.py crons show {run}\n")
    assert site.verdicts("waits_for_release") == [("cancelled", 1, "cancelled")]
    ((detail,),) = site.sql("SELECT detail FROM crons_run")
    assert detail.startswith("wrong list (by ")


def test_old_code_leaves_a_run_that_it_does_not_know_to_new_code(site: Site) -> None:
    """In a rolling deploy both are there for a while; ticking never retires what the other declares."""
    name = "only_in_the_new_release"
    site.crons("sync", TEST_RELEASE="new")
    site.make_due(name, "plain")

    old = site.crons("tick")
    left = site.verdicts(name)
    retired = site.sql("SELECT retired_at FROM crons_entry WHERE name = %s", name)
    site.crons("tick", TEST_RELEASE="new")

    assert "2 slot(s) recorded" in old.stderr
    assert site.verdicts("plain") == [("succeeded", 1, "succeeded")]
    assert left == [("due", 0, "")]
    assert retired == [(None,)]
    assert site.verdicts(name) == [("succeeded", 1, "succeeded")]


def test_an_old_release_that_starts_again_takes_nothing_away(site: Site) -> None:
    """Only a sync retires. While no scheduler of the new release lives, its job is a problem; then it is none."""
    name = "only_in_the_new_release"
    site.crons("sync", TEST_RELEASE="new")
    site.make_due()
    old = site.start("serve")
    site.wait_for_row("SELECT 1 FROM crons_heartbeat", old)

    alone = site.crons("health", check=False)
    new = site.start("serve", TEST_RELEASE="new")
    site.wait_for_row("SELECT 1 FROM crons_heartbeat GROUP BY kind HAVING COUNT(*) = 2", new)
    together = site.crons("health", check=False)
    for process in (old, new):
        process.send_signal(signal.SIGTERM)
    outputs = [process.communicate()[0] for process in (old, new)]

    assert (old.returncode, new.returncode) == (0, 0), outputs
    assert f"undeclared: {name}." in outputs[0]
    assert alone.returncode == 1
    assert f"undeclared: {name}: no running code declares it, so nothing begins it; last declared " in alone.stdout
    assert "undeclared" not in together.stdout
    assert site.sql("SELECT retired_at FROM crons_entry WHERE name = %s", name) == [(None,)]


def test_where_only_cron_ticks_what_no_code_declares_is_mailed(site: Site) -> None:
    """A tick knows what its code has, and what other ticks had an hour ago."""
    name, mails = "only_in_the_new_release", site.folder / "mails"
    site.crons("sync", TEST_RELEASE="new")
    site.make_due()
    site.crons("tick", TEST_RELEASE="new", TEST_MAILS=str(mails))
    vouched = site.sql("SELECT 1 FROM crons_entry WHERE name = %s AND vouched_until > declared_at", name)

    site.crons("tick", TEST_MAILS=str(mails))
    early = list(mails.glob("*"))
    site.sql(f"UPDATE crons_entry SET vouched_until = {site._ago('1 hour')} WHERE name = %s", name)
    site.crons("tick", TEST_MAILS=str(mails))

    assert vouched == [(1,)]
    assert early == []
    (mail,) = mails.glob("*")
    assert f"{name} declared by no running code" in mail.read_text()
    assert site.sql("SELECT retired_at FROM crons_entry WHERE name = %s", name) == [(None,)]


def rows(site: Site) -> tuple[int, int, int, int]:
    """Count runs, ranges, attempts and traces."""
    counts = [
        site.sql(f"SELECT COUNT(*) FROM {table}")[0][0] for table in ("crons_run", "crons_range", "crons_attempt")
    ]
    return (*counts, len(site.traces()))
