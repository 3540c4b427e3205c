"""What Debian's own cron does with what a line writes: redirects, mail, MAILTO, percent signs."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance import namespaces

SCRIPT = Path(__file__).with_name("cron_output.sh")
PATIENCE_SECONDS = 300
LOOK_SECONDS = 0.5
SENDMAIL = """#!/bin/sh
cat > "$(mktemp {folder}/mail/XXXXXX)"
"""
# Of one minute: two would write all of it twice.
CRONTAB = r"""
MAILTO=ops@example.com
{minute} * * * * echo told; exit 3
{minute} * * * * echo kept >> {folder}/kept.log 2>&1
{minute} * * * * echo {folder} | sed s/x/y/ > {folder}/escaped-\%.log
{minute} * * * * cat > {folder}/stdin.log%first%second >> {folder}/never.log
{minute} * * * * exit 4
MAILTO=""
{minute} * * * * echo told to nobody
"""
# cron must stand by then, on a busy machine too.
LEAD = timedelta(seconds=40)


@pytest.mark.slow(75)
@pytest.mark.needs("cron")
def test_what_cron_does_with_output(tmp_path: Path) -> None:
    """The claims of docs/howto/logs.md that a shell alone cannot show."""
    namespaces.need(namespaces.OWN_MACHINE, "cron, which changes to each crontab's user")
    (tmp_path / "mail").mkdir()
    (tmp_path / "sendmail").write_text(SENDMAIL.format(folder=tmp_path))
    # In the machine's own zone, as cron reads it.
    minute = (datetime.now(UTC).astimezone() + LEAD + timedelta(minutes=1)).minute
    (tmp_path / "crontab").write_text(CRONTAB.format(folder=tmp_path, minute=minute))
    for place in (*reversed(tmp_path.parents), tmp_path):
        if place.owner() == "root" and place.is_relative_to(tmp_path.parents[1]):
            place.chmod(0o755)

    process = subprocess.Popen(
        [*namespaces.OWN_MACHINE, str(SCRIPT), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wanted = [tmp_path / name for name in ("kept.log", "escaped-%.log", "stdin.log")]
        until = time.monotonic() + PATIENCE_SECONDS
        while not (all(each.exists() for each in wanted) and _mails(tmp_path)) and time.monotonic() < until:
            if process.poll() is not None:
                pytest.fail(process.communicate()[0])
            time.sleep(LOOK_SECONDS)  # sleeps: cron wakes up when the minute does, and tells nobody
    finally:
        process.communicate(timeout=PATIENCE_SECONDS)  # it ends when all that cron started has ended

    [mail] = _mails(tmp_path)
    assert "To: ops@example.com\n" in mail
    assert mail.endswith("\n\ntold\n")
    assert (tmp_path / "kept.log").read_text() == "kept\n"
    assert (tmp_path / "escaped-%.log").exists()
    assert (tmp_path / "stdin.log").read_text() == f"first\nsecond >> {tmp_path}/never.log\n"
    assert not (tmp_path / "never.log").exists()


def _mails(folder: Path) -> list[str]:
    return [each.read_text() for each in (folder / "mail").iterdir()]
