"""Where attempts run: two contracts (an executor here, a sender elsewhere), many implementations."""

from crons.executors.base import (
    Begun,
    Chunk,
    Ending,
    Executor,
    Finished,
    LedgerWriter,
    Outcome,
    Renewed,
    RunMessage,
    Sender,
)

__all__ = [
    "Begun",
    "Chunk",
    "Ending",
    "Executor",
    "Finished",
    "LedgerWriter",
    "Outcome",
    "Renewed",
    "RunMessage",
    "Sender",
]
