"""Cron's own environment: next to nothing. What this project comes to when it is started in it."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crons.doctor.probe import fingerprint
from crons.exceptions import TargetError
from crons.targets import crond
from crons.targets.installation import Installation

PROBE = Path(__file__).with_name("probe.py")
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Start:
    """How far a start in cron's environment came: *found* by the probe, its exit code, the last line it printed."""

    found: dict[str, Any]
    exit_code: int
    last_line: str

    @property
    def stage(self) -> str:
        """How far it got: "", start, settings, apps, database, tables, end."""
        return str(self.found.get("stage", ""))

    def differing(self, variables: Mapping[str, str]) -> dict[str, bool]:
        """Return those of *variables* that the settings read and found other than here: name → whether it is set.

        The probe reports values as fingerprints only: they may be secrets.
        """
        asked: dict[str, str | None] = self.found.get("asked", {})
        here = {name: fingerprint(variables[name]) for name in asked if name in variables}
        return {name: asked[name] is not None for name, mark in here.items() if asked[name] != mark}


@dataclass(frozen=True)
class Ended:
    """A command that ran to its end."""

    exit_code: int
    output: str = field(repr=False)


def environment() -> dict[str, str]:
    """Return the variables with which Debian's cron starts a job of this account.

    Raises: TargetError for an account without a name.
    """
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError as error:
        raise TargetError(f"the user id {os.getuid()} has no name, and cron serves only accounts.") from error
    return {"HOME": account.pw_dir, "LOGNAME": account.pw_name, "SHELL": "/bin/sh", "PATH": crond.PATH}


def path(installation: Installation) -> str:
    """Return the PATH that a line has: cron's, unless the environment file says another."""
    if installation.env_file is None:
        return crond.PATH
    ended = run(f'set -a && . {shlex.quote(str(installation.env_file))} >/dev/null 2>&1; printf %s "$PATH"')
    return ended.output if ended.exit_code == 0 else crond.PATH


def start(installation: Installation) -> Start:
    """Start the project as a line would, up to where it would do its work."""
    with tempfile.TemporaryDirectory(prefix="crons-doctor-") as folder:
        report = Path(folder) / "report"
        ended = run(installation.shell(str(PROBE), str(report), str(installation.manage_py)))
        found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    lines = [line for line in ended.output.splitlines() if line.strip()]
    return Start(found, ended.exit_code, lines[-1].strip() if lines else "")


def run(command: str, *, timeout_seconds: float | None = TIMEOUT_SECONDS) -> Ended:
    """Run a shell command as cron does: no environment, in the home directory, without a terminal."""
    variables = environment()
    home = variables["HOME"] if os.path.isdir(variables["HOME"]) else "/"
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        env=variables,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            # All of them: the shell is only the first, and what hangs is its child.
            os.killpg(process.pid, signal.SIGKILL)
            raise TargetError(f"it did not start within {timeout_seconds:g} seconds: {command}") from error
        except BaseException:  # somebody has enough of it: its end is recorded, and waited for
            os.killpg(process.pid, signal.SIGTERM)
            raise
    return Ended(process.returncode, said.decode("utf-8", "replace"))
