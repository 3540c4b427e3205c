"""Who watches is woken when there is something to tell: by one reader for all, which ends with the last of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import OperationalError

from crons.contrib.graphql.live import Full, Watched, Watchers

PATIENCE_SECONDS = 60


class Rows:
    """What there is to be read, and how often it was read; *looked* is set by each look."""

    def __init__(self) -> None:
        self.now: dict[int, Any] = {1: "a", 2: "a"}
        self.asked: list[list[int]] = []
        self.fails = False

    def read(self, numbers: Sequence[int]) -> dict[int, Any]:
        self.asked.append(sorted(numbers))
        if self.fails:
            raise OperationalError("away")
        return {number: self.now[number] for number in numbers if number in self.now}

    async def looked(self, times: int) -> None:
        """Wait for so many looks more."""
        wanted = len(self.asked) + times
        while len(self.asked) < wanted:
            await asyncio.sleep(0.001)  # sleeps: the reader has no sign for each look


def run(steps: Any) -> None:
    asyncio.run(asyncio.wait_for(steps, PATIENCE_SECONDS))


def test_one_look_reads_for_all_and_wakes_only_who_has_something_to_be_told() -> None:
    rows = Rows()

    async def steps() -> None:
        watchers = Watchers(every=0.001)
        read = rows.read
        with ExitStack() as stack:
            first, same, other = (stack.enter_context(watchers.told(Watched(read, n), "ada")) for n in (1, 1, 2))
            await asyncio.gather(first.wait(), same.wait(), other.wait())
            for each in (first, same, other):
                each.clear()
            await rows.looked(2)
            assert [each.is_set() for each in (first, same, other)] == [False] * 3
            rows.now[1] = "b"
            await asyncio.gather(first.wait(), same.wait())
            assert not other.is_set()
            del rows.now[2]
            await other.wait()
        assert {tuple(each) for each in rows.asked} == {(1, 2)}
        count = len(rows.asked)
        await asyncio.sleep(0.01)  # sleeps: for what must not come
        assert (len(rows.asked), watchers._looking) == (count, None)

    run(steps())


def test_who_comes_later_is_woken_once_for_what_came_before() -> None:
    rows = Rows()

    async def steps() -> None:
        watchers = Watchers(every=0.001)
        with watchers.told(Watched(rows.read, 1), "ada") as first:
            await first.wait()
            await rows.looked(1)
            with watchers.told(Watched(rows.read, 1), "bob") as second:
                await second.wait()

    run(steps())


def test_reader_that_fails_wakes_all_who_then_see_for_themselves_and_goes_on() -> None:
    rows = Rows()

    async def steps() -> None:
        watchers = Watchers(every=0.001)
        with watchers.told(Watched(rows.read, 1), "ada") as changed:
            await changed.wait()
            rows.fails = True
            await rows.looked(1)
            changed.clear()
            await changed.wait()
            rows.fails = False
            await rows.looked(2)
            changed.clear()
            rows.now[1] = "b"
            await changed.wait()

    run(steps())


def test_there_is_room_for_some_of_all_and_for_some_of_one() -> None:
    rows = Rows()

    async def steps() -> None:
        watchers = Watchers(every=60, most=3, most_of_one=2)
        watched = Watched(rows.read, 1)
        with ExitStack() as stack:
            for owner in ("ada", "ada", "bob"):
                stack.enter_context(watchers.told(watched, owner))
            assert watchers.lacks_room("ada") == "You watch 2 already, which is the most. End one first."
            assert watchers.lacks_room("eve") == "3 are watched already, which is the most. Ask again later."
            with pytest.raises(Full), watchers.told(watched, "bob"):
                pass
        assert watchers.lacks_room("ada") == ""

    run(steps())
