"""Log queues: the thread that empties one does not come along over a fork, so each job's process has its own.

Without it what a job logs to a QueueHandler is kept in a queue that nobody reads, and lost with the process.
"""

from __future__ import annotations

import logging
import queue
from logging.handlers import QueueHandler, QueueListener
from typing import Any

# A queue of multiprocessing is a pipe: what a job puts into it reaches the host's thread, which goes on.
_OF_THREADS = (queue.Queue, queue.SimpleQueue)


class LogQueues:
    """The listeners that were at work before the fork; made in the forked process."""

    def __init__(self, listeners: list[QueueListener]) -> None:
        self._listeners = listeners
        known = [reference() for reference in list(logging._handlerList)]  # type: ignore[attr-defined] # all there are
        handlers = [each for each in known if isinstance(each, QueueHandler)]
        for listener in listeners:
            # A new one: what is in the old one is the host's to write, and so is its lock.
            old, fresh = listener.queue, type(listener.queue)()
            for handler in handlers:
                if handler.queue is old:
                    handler.queue = fresh
            listener.queue, listener._thread = fresh, None  # else it takes itself for started

    def start(self) -> None:
        """Have what this process logs written from now on."""
        for listener in self._listeners:
            listener.start()

    def stop(self) -> None:
        """Write what is logged by now, where the project has not done so in `atexit`."""
        for listener in self._listeners:
            if listener._thread is not None:
                listener.stop()


def listeners_among(objects: list[Any]) -> list[QueueListener]:
    """Return the listeners at work whose queue is one of this process."""
    # By type, never by isinstance: that asks a lazy object for its class, and so evaluates it.
    found = [each for each in objects if issubclass(type(each), QueueListener)]
    return [each for each in found if each._thread is not None and type(each.queue) in _OF_THREADS]
