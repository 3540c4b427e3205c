"""Who a process is to the others, and whether it still lives.

The kernel keeps the answer: an instance binds a socket in the abstract namespace, which its
fork server, supervisors and jobs inherit. The name is free again only when the last of them is gone,
so a free name proves that nothing of that instance can still run a job. Each attempt has a name
as well, which its supervisor and its job have open. No pid is compared, so none can be reused;
nothing is left behind on disk. Programs that a job has started have none of it: see orphans.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
import time
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

LONGEST_HOST = 255


@dataclass(frozen=True)
class Instance:
    """One scheduler, tick or run: a process and all it forked. The socket *bound* keeps the name while it lives."""

    kind: str
    name: str
    host: str
    pid: int
    boot_id: str
    bound: socket.socket | None = field(default=None, compare=False, repr=False)

    @classmethod
    def start(cls, kind: str) -> Instance:
        """Become an instance; call before the fork server starts, so that everything inherits the name."""
        name = uuid.uuid4().hex
        return cls(kind, name, host(), os.getpid(), boot_id(), _bind(name))

    def stop(self) -> None:
        """Release the name, as far as this process has it; what it has forked keeps it."""
        if self.bound is not None:
            self.bound.close()


def is_gone(name: str, boot: str) -> bool:
    """Say whether every process of the instance *name* has surely ended; False where that cannot be known.

    Args: *boot* is the boot id that the instance wrote down.
    """
    if boot != boot_id() or not sys.platform.startswith("linux"):
        return False
    try:
        probe = _bind(name)
    except OSError:
        return False  # this process may open nothing more: that says nothing of the other
    if probe is None:
        return False
    probe.close()
    return True


def lock_attempt(instance: str, attempt: int) -> socket.socket | None:
    """Take an attempt's name; call before its process is forked, so that this inherits it."""
    return _bind(_name_of_attempt(instance, attempt)) if instance else None


def has_ended(instance: str, attempt: int, boot: str) -> bool:
    """Say whether the processes that run *attempt* have surely ended, whatever became of its instance."""
    return is_gone(_name_of_attempt(instance, attempt), boot)


def is_stopped(pid: int) -> bool:
    """Say whether a process of this machine is stopped, by SIGSTOP or a debugger, and so does nothing."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


@cache
def host() -> str:
    """Return this machine's name."""
    return socket.gethostname()[:LONGEST_HOST]


def operator() -> str:
    """Name who started this process, and on which machine, for the audit trail."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user id without a name
        user = "unknown"
    return f"{user}@{host()}"


@cache
def boot_id() -> str:
    """Return what is the same only for processes that share a kernel, a boot and a network namespace.

    Two containers may have one host name; names bound in one of them are invisible in the other.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/net")
    except OSError:
        return f"unknown-{uuid.uuid4().hex}"
    return f"{boot}/{namespace}"


def boottime() -> float:
    """Return seconds on a clock that all processes of this machine share and that counts suspended time."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _name_of_attempt(instance: str, attempt: int) -> str:
    return f"{instance}-{attempt}"


def _bind(name: str) -> socket.socket | None:
    if not sys.platform.startswith("linux"):
        return None
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(f"\0crons-{name}")
    except OSError:
        holder.close()
        return None
    return holder
