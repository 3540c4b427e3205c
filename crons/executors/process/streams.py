"""The host's ends of an attempt's pipes: what comes is fed to its output, a bounded piece at a time."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from crons.executors.capture import STREAMS
from crons.executors.output import Output

READ_BYTES = 65_536
# A pipe holds at most a megabyte; more than that after the end is written by a stranger.
_MOST_DRAIN_READS = 32


class Streams:
    """Reads what an attempt writes; *on_data* is called after each piece, *on_end* when all pipes are at their end."""

    def __init__(
        self,
        descriptors: dict[str, int],
        output: Output,
        *,
        selector: selectors.BaseSelector,
        on_data: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._descriptors = descriptors
        self._output = output
        self._selector = selector
        self._on_data = on_data
        self._on_end = on_end
        for stream, descriptor in descriptors.items():
            selector.register(descriptor, selectors.EVENT_READ, partial(self._read, stream))

    @property
    def have_ended(self) -> bool:
        """Whether no process can write any more."""
        return not self._descriptors

    def drain(self) -> None:
        """Take in what is in the pipes, without waiting for more, and close them."""
        for stream in list(self._descriptors):
            for _ in range(_MOST_DRAIN_READS):
                if not self._take(stream):
                    break
        self.close()

    def close(self) -> None:
        for stream in list(self._descriptors):
            self._close(stream)

    def _read(self, stream: str) -> None:
        # Once per turn: one attempt's flood does not hold up the others.
        if self._take(stream):
            self._on_data()
        elif self.have_ended:
            self._on_end()

    def _take(self, stream: str) -> bool:
        descriptor = self._descriptors.get(stream)
        if descriptor is None:
            return False
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._output.feed(stream, data)
        else:
            self._close(stream)
        return bool(data)

    def _close(self, stream: str) -> None:
        descriptor = self._descriptors.pop(stream)
        self._selector.unregister(descriptor)
        os.close(descriptor)


@contextmanager
def pipes() -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Open a pipe for each stream; the ends that write are closed afterwards, on an error all are."""
    reading: dict[str, int] = {}
    writing: dict[str, int] = {}
    try:
        for stream in STREAMS:
            reading[stream], writing[stream] = os.pipe()
            os.set_blocking(reading[stream], False)
        yield reading, writing
    except BaseException:
        for descriptor in reading.values():
            os.close(descriptor)
        raise
    finally:
        for descriptor in writing.values():
            os.close(descriptor)
