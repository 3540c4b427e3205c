"""Orphans: programs that a job has started, and that outlived every process that watched over the job.

A job's programs have its attempt in their environment, and the instance that began it: a name that nobody else has,
so no other site's program is ever taken for one of them. Only Linux shows the environment of another process, so
elsewhere none are found.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

INSTANCE, ATTEMPT = "CRONS_INSTANCE", "CRONS_ATTEMPT"
# How long end() waits for what it has killed.
PATIENCE_SECONDS = 1.0
LONGEST_COMMAND = 60


@dataclass(frozen=True)
class Orphan:
    """One such program."""

    pid: int
    attempt: int
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command})"


def end(attempts: Collection[tuple[str, int]]) -> list[Orphan]:
    """Kill the programs that *attempts* have left, whose own processes have ended; return those that live on.

    Args: *attempts* are (instance, id).
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        # Again after each killing: a program may have started another meanwhile.
        with ExitStack() as opened:
            killed = select.poll()
            found = []
            for orphan, process in _find(attempts):
                opened.callback(os.close, process)
                found.append(orphan)
                killed.register(process, select.POLLIN)
                with suppress(OSError):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            left = until - time.monotonic()
            if not found or left <= 0:
                return found
            killed.poll(left * 1000)


def _find(attempts: Collection[tuple[str, int]]) -> Iterator[tuple[Orphan, int]]:
    """Yield each program with a descriptor of its process, which whoever gets it closes."""
    mine = _ancestors()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        # Where a job's program started this process, it is no orphan, and must not kill itself.
        if pid in mine:
            continue
        try:
            # Opened before it is read: should the number be another process's by now, the signal goes nowhere.
            process = os.pidfd_open(pid)
            try:
                instance, attempt = _mark(folder / "environ")
                if (instance, attempt) in attempts:
                    yield Orphan(pid, attempt, _command(folder)), os.dup(process)
            finally:
                os.close(process)
        except (ValueError, KeyError):
            continue  # a foreign program's own variables of these names
        except OSError as error:
            # It is gone, or another user's. Out of descriptors or memory nothing is known: that is no empty list.
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise


def _mark(environ: Path) -> tuple[str, int]:
    """Return the instance and the attempt that an environment names; "" and 0 where it names none."""
    given = environ.read_bytes()
    if INSTANCE.encode() not in given:
        return "", 0
    named = dict(each.partition(b"=")[::2] for each in given.split(b"\0"))
    return named[INSTANCE.encode()].decode(), int(named[ATTEMPT.encode()])


def _command(folder: Path) -> str:
    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return words if len(words) <= LONGEST_COMMAND else f"{words[: LONGEST_COMMAND - 1]}…"


def _ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    with suppress(OSError, ValueError):
        while pid > 0 and pid not in found:
            found.add(pid)
            # The command's name, in brackets, may hold anything: what follows the last bracket counts.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found
