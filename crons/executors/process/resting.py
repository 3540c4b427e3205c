"""A host that cannot start a process rests: it fails faster than others work, and would get most of the slots."""

from __future__ import annotations

import errno
import math
import os
import time
from pathlib import Path

from crons.side_output import get_log

try:
    import resource  # now: at the limit of open files nothing can be imported any more
except ImportError:
    resource = None  # type: ignore[assignment] # not on Windows, where nothing is forked

log = get_log("crons.executors")
LONGEST_SECONDS = 60.0
_HINTS = {
    errno.EMFILE: "open files, RLIMIT_NOFILE is {nofile}",
    errno.ENFILE: "open files of the whole machine, fs.file-max",
    errno.EAGAIN: "processes, RLIMIT_NPROC is {nproc}, pids.max of the control group {pids}",
    errno.ENOMEM: "memory",
}


class Rest:
    """A pause after a failure to start, twice as long after each more; the first start that works ends the row."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = -math.inf

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    def note_failure(self, why: str) -> None:
        """Rest, and say why; what fails while resting is the same failure."""
        if not self.is_over:
            return
        pause: float = min(2.0**self._failures, LONGEST_SECONDS)
        self._failures = min(self._failures + 1, 10)
        self._until = time.monotonic() + pause
        log.error(
            "Resting for %.0f s, what is due is left to others: %s", pause, why, extra={"event": "scheduler.resting"}
        )

    def note_success(self) -> None:
        self._failures, self._until = 0, -math.inf


def explain(error: OSError) -> str:
    """Say why no process could be had, and which limit was hit."""
    hint = _HINTS.get(error.errno or 0, "").format(
        nofile=_limit("RLIMIT_NOFILE"), nproc=_limit("RLIMIT_NPROC"), pids=_most_pids()
    )
    return f"the job's process could not be started: {error}" + (f" (the limit of {hint})" if hint else "")


def _limit(name: str) -> str:
    soft, _ = resource.getrlimit(getattr(resource, name))
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)


def _most_pids() -> str:
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
        return Path(f"/sys/fs/cgroup{os.path.normpath(group)}/pids.max").read_text().strip()
    except OSError:
        return "unknown"
