"""The lines of the real django-crontab and ours in one crontab, with Debian's own crontab."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.acceptance import namespaces
from tests.acceptance.installation import Installation

SCRIPT = Path(__file__).with_name("real_crontab_beside.sh")
PATIENCE_SECONDS = 300


@pytest.mark.needs("cron")
@pytest.mark.slow
def test_the_lines_of_django_crontab_and_ours_stand_side_by_side(tmp_path: Path) -> None:
    """Whoever moves over has both for a while, and each command writes the whole crontab."""
    namespaces.need(namespaces.OWN_MOUNTS, "a crontab of its own")
    installed = Installation.make(tmp_path / "crm")
    with (installed.place / "crm" / "settings.py").open("a") as settings:
        settings.write('CRONS["STATE_DIR"] = VAR_DIR / "state"\n')
    (tmp_path / "foreign").write_bytes(b"# mine\n1 1 1 1 1 /bin/true\n")

    command = [*namespaces.OWN_MOUNTS, str(SCRIPT), str(tmp_path), str(installed.place)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    ours, both = (tmp_path / "ours").read_bytes(), (tmp_path / "both").read_bytes()
    assert both.startswith(ours)
    assert both.removeprefix(ours).count(b"# django-cronjobs for crm\n") == 2
    assert "The crontab is as it should be (tick)." in (tmp_path / "in-step").read_text()
    assert (tmp_path / "undone").read_bytes() == ours
