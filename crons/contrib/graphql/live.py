"""What changes is told to those who watch it: one reader for all of a process, however many they are.

A field of a subscription is read as one of a query is, and says by `watch` what it showed. Whoever streams its answers
waits in `Watchers.told` until that changes, and asks again. So what may be seen is judged anew each time, and a row is
read for a client only when there is something to tell.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from django.db import DatabaseError, close_old_connections
from strawberry import Info

WATCHED = "crons_watched"
MOST = 100
MOST_OF_ONE = 10
LOOKS_EVERY_SECONDS = 1.0
T = TypeVar("T")
# A few for all: a thread for each who watches would be a connection to the database for each, too.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="graphql-live")

# Of the numbers of rows, what each is like now: anything that is equal as long as there is nothing to tell.
Reader = Callable[[Sequence[int]], Mapping[int, Any]]


class Watched(NamedTuple):
    """A row by its number, and what reads many such rows at once."""

    read: Reader
    number: int


class Full(Exception):
    """As many watch as may."""


def watch(info: Info[Any, Any], read: Reader, number: int, *, is_over: bool) -> None:
    """Note on the request of *info* what it is shown, and whether that has come to its end."""
    context: Any = info.context
    request = context.get("request") if isinstance(context, dict) else getattr(context, "request", None)
    if request is not None:
        setattr(request, WATCHED, None if is_over else Watched(read, number))


async def in_thread(call: Callable[..., T], *given: Any) -> T:
    """Give what *call* gives, run where it may ask the database."""

    def closing() -> T:
        try:
            return call(*given)
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(_THREADS, closing)


class Watchers:
    """Those who watch, in one event loop."""

    def __init__(self, *, most: int = MOST, most_of_one: int = MOST_OF_ONE, every: float = LOOKS_EVERY_SECONDS) -> None:
        self._most, self._most_of_one, self._every = most, most_of_one, every
        self._waiting: dict[Watched, list[asyncio.Event]] = {}
        self._owners: dict[str, int] = defaultdict(int)
        self._seen: dict[Watched, Any] = {}
        self._looking: asyncio.Task[None] | None = None

    def lacks_room(self, owner: str) -> str:
        """Say why *owner* cannot watch one more; empty where there is room."""
        if self._owners.get(owner, 0) >= self._most_of_one:
            return f"You watch {self._most_of_one} already, which is the most. End one first."
        if sum(list(self._owners.values())) >= self._most:
            return f"{self._most} are watched already, which is the most. Ask again later."
        return ""

    @contextmanager
    def told(self, watched: Watched, owner: str) -> Iterator[asyncio.Event]:
        """Have an event set whenever *watched* may have changed, for as long as this lasts.

        Raises: Full.
        """
        if refusal := self.lacks_room(owner):
            raise Full(refusal)
        changed = asyncio.Event()
        self._waiting.setdefault(watched, []).append(changed)
        self._owners[owner] += 1
        # Whatever came between what was shown first and now is told at the next look.
        self._seen.pop(watched, None)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield changed
        finally:
            self._leave(watched, owner, changed)

    def _leave(self, watched: Watched, owner: str, changed: asyncio.Event) -> None:
        self._waiting[watched].remove(changed)
        if not self._waiting[watched]:
            del self._waiting[watched]
            self._seen.pop(watched, None)
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]
        if not self._waiting and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            numbers: dict[Reader, list[int]] = defaultdict(list)
            for watched in self._waiting:
                numbers[watched.read].append(watched.number)
            for read, each in numbers.items():
                try:
                    self._tell(read, each, await in_thread(read, each))
                except DatabaseError:
                    # Who asks for himself now is told what is wrong, as with any request.
                    for watched in [Watched(read, number) for number in each]:
                        self._wake(watched)

    def _tell(self, read: Reader, numbers: Sequence[int], found: Mapping[int, Any]) -> None:
        for watched in [Watched(read, number) for number in numbers]:
            now = found.get(watched.number)
            if watched in self._waiting and (watched not in self._seen or self._seen[watched] != now):
                self._seen[watched] = now
                self._wake(watched)

    def _wake(self, watched: Watched) -> None:
        for changed in self._waiting.get(watched, ()):
            changed.set()
