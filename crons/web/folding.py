"""Equal problems as one: an outage of an hour is one thing to know, not one for each entry that it kept waiting."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from crons.watch import Problem

# Fewer are read faster one by one, with the buttons of each.
FEWEST = 3
NAMED = 3
_CHANGING = re.compile(r"[0-9][0-9:.+-]*")


@dataclass(frozen=True)
class Folded:
    """Problems that say the same of several entries, in their order; or one."""

    problems: list[Problem]

    @property
    def first(self) -> Problem:
        """The one that stands for all."""
        return self.problems[0]

    @property
    def is_one(self) -> bool:
        """Whether it is one problem only."""
        return len(self.problems) == 1

    @property
    def named(self) -> list[Problem]:
        """Those that are named at once."""
        return self.problems[:NAMED]

    @property
    def others(self) -> list[Problem]:
        """Those that are named where somebody asks."""
        return self.problems[NAMED:]

    @property
    def since(self) -> datetime | None:
        """When the first of them began."""
        return min((each.since for each in self.problems if each.since), default=None)

    @property
    def kind(self) -> str:
        """The word that rules and people know them by."""
        return self.first.kind


def fold(problems: Iterable[Problem]) -> list[Folded]:
    """Put problems of one kind that say the same, but for numbers, of FEWEST entries or more into one."""
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for each in problems:
        step = _CHANGING.sub("#", each.next_step.replace(each.entry, "…") if each.entry else each.next_step)
        groups.setdefault((each.kind, _CHANGING.sub("#", each.text), step), []).append(each)
    found = []
    for group in groups.values():
        many = len(group) >= FEWEST and all(each.entry for each in group)
        found += [Folded(group)] if many else [Folded([each]) for each in group]
    return found
