"""Which executor promises what: the one table, which docs/howto/choose.md shows and the tests go by."""

from __future__ import annotations

EXECUTORS = ("inline", "process", "celery", "tasks")
IN_A_PROCESS = EXECUTORS[1:]
ELSEWHERE = EXECUTORS[2:]

# By its short name: what docs/howto/choose.md says, and of which executors it is true.
PROMISED: dict[str, tuple[str, tuple[str, ...]]] = {
    "records": ("a return, an exception, `sys.exit` and Ctrl-C are written down", EXECUTORS),
    "keeps_output": ("what Python prints and logs is kept, without secrets", EXECUTORS),
    "renews": ("the lease is renewed while the job runs", EXECUTORS),
    "isolates": ("a job that exits or kills its process is written down, and harms nobody", IN_A_PROCESS),
    # Celery's pool speaks with its processes over pipes, which a fork has as well.
    "keeps_apart": ("a job that writes to descriptors which it has not opened harms only itself", ("process", "tasks")),
    "keeps_programs_output": ("what its programs print is kept too, and can be read while it runs", IN_A_PROCESS),
    "measures": ("CPU seconds and peak memory are recorded", IN_A_PROCESS),
    "times_out": ("the timeout ends the job with all that it has started", IN_A_PROCESS),
    "cancels": ("a running job can be cancelled", IN_A_PROCESS),
    "leaves_nothing": ("nothing of the job outlives its attempt, or who runs it", IN_A_PROCESS),
    "sends": ("a message that comes twice, late or for nobody does nothing", ELSEWHERE),
}


def that(*promises: str) -> list[str]:
    """Return the executors that promise all of *promises*."""
    return [alias for alias in EXECUTORS if all(alias in PROMISED[promise][1] for promise in promises)]
