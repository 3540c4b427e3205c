"""The machine's systemd, or the account's: whether it runs, and what it is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from crons.exceptions import TargetError

TIMEOUT_SECONDS = 120


def is_running(*, system: bool) -> bool:
    """Say whether a manager answers that can be told of our units."""
    try:
        return not _call(["show", "--property=Version"], system=system).returncode
    except TargetError:
        return False


def enabled(names: Sequence[str], *, system: bool) -> list[str]:
    """List those of *names* that start by themselves."""
    return [name for name in names if not _call(["is-enabled", "--quiet", name], system=system).returncode]


def inactive(names: Sequence[str], *, system: bool) -> list[str]:
    """List those of *names* that do not run now."""
    return [name for name in names if _call(["is-active", "--quiet", name], system=system).returncode]


def run(*words: str, system: bool) -> None:
    """Call systemctl.

    Raises: TargetError with what it printed.
    """
    done = _call(words, system=system)
    if done.returncode:
        printed = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
        raise TargetError(f"{command(*words, system=system)}: {printed}")


def command(*words: str, system: bool) -> str:
    """Write what a person types for it."""
    return " ".join(["systemctl" if system else "systemctl --user", *words])


def _call(words: Sequence[str], *, system: bool) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemctl")
    if program is None:
        raise TargetError("there is no systemctl here")
    try:
        return subprocess.run(
            [program, "--no-ask-password", *([] if system else ["--user"]), *words],
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(f"systemctl {' '.join(words)}: {error}") from error
