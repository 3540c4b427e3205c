"""A tick that a systemd timer starts: while it runs, the timer starts no other, so it looks again itself."""

from __future__ import annotations

import os
from pathlib import Path

from tests.acceptance.conftest import Site

QUICK = (
    "import django; django.setup(); import crons.triggers.tick as trigger; trigger.LOOK_SECONDS = 0.2; "
    "from django.core.management import execute_from_command_line as call; "
    "call(['manage.py', 'crons', 'tick', '--while-busy'])"
)
SUCCEEDED = (
    "SELECT 1 FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id "
    "WHERE e.name = 'plain' AND r.verdict = 'succeeded'"
)


def test_what_falls_due_while_a_tick_is_busy_is_run(site: Site, tmp_path: Path) -> None:
    """A job of two hours must not hold up all others for as long: systemd starts none twice."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    site.make_due("waits_for_release")
    process = site.start_python("-c", QUICK)
    held = os.open(gate, os.O_WRONLY)  # returns when the job stands there

    site.make_due("plain")
    site.wait_for_row(SUCCEEDED, process)
    os.close(held)
    output = process.communicate()[0]

    assert process.returncode == 0, output
    assert output.endswith("2 slot(s) recorded, 0 missed or skipped, 2 attempt(s) begun, 0 found lost.\n")
    assert site.verdicts("waits_for_release") == [("succeeded", 1, "succeeded")]
    site.wait_until_nothing_runs()


def test_a_tick_without_work_ends_at_once_also_if_it_would_stay(site: Site) -> None:
    """It stays for what runs, not for what might come: a deploy's new code comes with the next tick."""
    site.make_due()

    done = site.crons("tick", "--while-busy")

    assert (done.stdout, done.stderr) == ("", "")
