"""What the kernel offers to keep a family of processes together, and to find all of it.

Linux has all of it; elsewhere the calls do nothing, and only process groups are left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SET_PARENT_DEATH_SIGNAL = 1
_SET_CHILD_SUBREAPER = 36
# Windows has neither this signal nor what else is used here; the executor says so when it is prepared.
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_LINUX = sys.platform.startswith("linux")
_libc = ctypes.CDLL(None, use_errno=True) if _LINUX else None
_prctl = _libc.prctl if _libc is not None else None


def flush_streams_of_c() -> None:
    """Write out what libraries in C have printed, and hold in buffers of their own."""
    if _libc is not None:
        _libc.fflush(None)


def adopt_orphans() -> None:
    """From now on, descendants of this process that lose their parent become its children."""
    if _prctl is not None:
        _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when *parent*, which forked it, ends."""
    if _prctl is not None:
        _prctl(_SET_PARENT_DEATH_SIGNAL, int(SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def descendants(pid: int, *, spare: Collection[int] = ()) -> list[int]:
    """List all processes below *pid*, whatever session or group they moved to; empty where /proc is not.

    Args: *spare* names children that are left out, with all below them.
    """
    if not _LINUX:
        return []
    children_of = _children if _lists_children() else _parents_to_children()
    found: list[int] = []
    ahead = [child for child in children_of(pid) if child not in spare]
    while ahead:
        found.extend(ahead)
        ahead = [child for parent in ahead for child in children_of(parent)]
    return found


def kill(pid: int, how: signal.Signals = SIGKILL) -> None:
    """Signal one process; one that is gone or not ours is left alone."""
    with contextlib.suppress(OSError):
        os.kill(pid, how)


def kill_group(group: int, how: signal.Signals = SIGKILL) -> None:
    """Signal a process group and the process it is named after, should that have left it."""
    with contextlib.suppress(OSError):
        os.killpg(group, how)
    kill(group, how)


def kill_below(pid: int, group: int | None = None, *, spare: Collection[int] = ()) -> list[int]:
    """Kill every descendant of *pid*, and return them; where they cannot be listed, *group* is killed.

    Args: *spare* names children that are left alone, with all below them.
    """
    left = descendants(pid, spare=spare)
    for each in left:
        kill(each)
    if not left and group is not None:
        with contextlib.suppress(OSError):
            os.killpg(group, SIGKILL)
    return left


def of_other_users(pids: Collection[int]) -> list[int]:
    """Return those of *pids* that this account may not signal: they live on, and are another user's."""
    found = []
    for pid in pids:
        try:
            os.kill(pid, 0)
        except PermissionError:
            found.append(pid)
        except OSError:
            pass  # it has ended
    return found


def describe(pid: int) -> str:
    """Return "pid 12 (sudo)", or "pid 12" where nothing tells its name."""
    try:
        return f"pid {pid} ({Path(f'/proc/{pid}/comm').read_text(errors='replace').strip()})"
    except OSError:
        return f"pid {pid}"


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        # Each thread has its own children.
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found.extend(map(int, (thread / "children").read_text().split()))
    except OSError:
        pass  # it ended while being read: its children are somebody else's by now
    return found


@cache
def _lists_children() -> bool:
    pid = os.getpid()
    return Path(f"/proc/{pid}/task/{pid}/children").exists()


class _parents_to_children:
    """The same from every process's parent, for kernels built without the list of children."""

    def __init__(self) -> None:
        self._below: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int(entry.read_text().rpartition(")")[2].split()[1])
                self._below.setdefault(parent, []).append(int(entry.parent.name))

    def __call__(self, pid: int) -> list[int]:
        return self._below.get(pid, [])


def oom_kills() -> int | None:
    """Return how many processes the kernel has killed for want of memory, or None where it does not say.

    Of this control group where that is counted, else of the whole machine.
    """
    with contextlib.suppress(OSError, ValueError):
        group = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip()
        return _oom_kills_in(Path(f"/sys/fs/cgroup{group}/memory.events"))
    with contextlib.suppress(OSError, ValueError):
        return _oom_kills_in(Path("/proc/vmstat"))
    return None


def _oom_kills_in(counts: Path) -> int:
    for line in counts.read_text().splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    raise ValueError(f"{counts} does not count them")


class ChildWatcher:
    """Becomes readable when a child of this process has ended (a self-pipe on SIGCHLD)."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        for end in (self._read_fd, self._write_fd):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._read_fd

    def drain(self) -> None:
        """Be readable no more until the next child ends."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_fd, 4096)

    def close(self) -> None:
        """Let go of it in a forked child; the parent's goes on."""
        signal.set_wakeup_fd(-1)
        os.close(self._read_fd)
        os.close(self._write_fd)


@dataclass
class ExitedChild:
    """A child that ended: *code* is its exit code, negative for the signal that killed it."""

    pid: int
    code: int
    cpu_seconds: float
    peak_memory_bytes: int


def reap() -> Iterator[ExitedChild | None]:
    """Yield the children that have ended; None last if no child is left at all."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            yield None
            return
        if pid == 0:
            return
        yield ExitedChild(
            pid,
            os.waitstatus_to_exitcode(status),
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss * (1024 if _LINUX else 1),
        )
