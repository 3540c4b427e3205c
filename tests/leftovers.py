"""Processes that a run of the tests left behind."""

import os
import signal
from pathlib import Path

from tests import run


def find() -> dict[int, str]:
    """Give pid and command line of each living process of this run, but for this one and its ancestors.

    They are known by the run's name in the environment that they were started with.
    """
    marker = f"{run.NAME}={run.name()}".encode()
    mine = _ancestors()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in mine:
            continue
        try:
            if marker in (entry / "environ").read_bytes().split(b"\0") and _state(entry) != "Z":
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:150]
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


def kill(pids: list[int]) -> None:
    """Kill *pids*, so that a failing run does not disturb the next one."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def _ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 1:
        found.add(pid)
        pid = int(_stat(Path(f"/proc/{pid}"))[1])
    return found


def _state(entry: Path) -> str:
    return _stat(entry)[0]


def _stat(entry: Path) -> list[str]:
    # The command's name, in brackets, may hold anything: what follows the last bracket counts.
    return (entry / "stat").read_text().rpartition(")")[2].split()
