"""Check that nothing is done twice: two entries that call the same at the same times."""

from __future__ import annotations

import inspect
import json
from collections import defaultdict
from collections.abc import Hashable, Iterator
from datetime import datetime
from itertools import combinations
from pathlib import PurePath
from typing import Any
from zoneinfo import ZoneInfo

from django.core.checks import CheckMessage, Warning, register
from django.utils import timezone

from crons.checks.asking import of_declarations
from crons.checks.base import TAG
from crons.conf import conf
from crons.jobs import Body, CommandBody, Declaration, ShellBody, registry
from crons.schedules import FAR_FUTURE, is_zone

# So many slots of one entry are looked for among those of the other.
SLOTS_COMPARED = 20
# Of entries that all do the same, so many are compared: pairs grow with the square, and a long list says no more.
ENTRIES_COMPARED = 20


@register(TAG)
@of_declarations
def check_doubles() -> Iterator[CheckMessage]:
    """Check that no two entries do the same at the same moment: what they do would be done twice."""
    now = timezone.now()
    by_deed: dict[Hashable, list[Declaration]] = defaultdict(list)
    for declaration in registry.entries.values():
        by_deed[_deed(declaration)].append(declaration)
    for alike in by_deed.values():
        for first, second in combinations(alike[:ENTRIES_COMPARED], 2):
            shared = _shared_moment(first, second, now)
            if shared is not None:
                yield Warning(
                    f"{first.name} and {second.name} do the same at the same times, next at "
                    f"{shared.isoformat(sep=' ', timespec='minutes')}: {first.source_ref} and {second.source_ref}.",
                    hint="Take one of them away, or give them other times or other arguments. "
                    "If it is meant to be done twice, name crons.W074 in SILENCED_SYSTEM_CHECKS.",
                    id="crons.W074",
                )


def _deed(declaration: Declaration) -> Hashable:
    """Return what an entry does, equal for entries that do the same; its job's name for what is like nothing else."""
    called, args = _called(registry.jobs[declaration.job].body)
    return called, json.dumps([args, dict(declaration.args)], sort_keys=True, default=repr)


def _called(body: Body) -> tuple[Hashable, list[Any]]:
    if isinstance(body, CommandBody):
        return ("command", body.command_name), list(body.command_args)
    if isinstance(body, ShellBody):
        return _of_program(body)
    inner = getattr(body, "body", None)  # it calls another one with arguments of its own
    if callable(inner):
        called, args = _called(inner)
        return called, [*args, *getattr(body, "args", ())]
    if found := getattr(body, "found", None):  # it stands for a class
        return ("object", id(found)), []
    return ("object", id(inspect.unwrap(body))), []


def _of_program(body: ShellBody) -> tuple[Hashable, list[Any]]:
    """Read a call of manage.py as the command that it calls."""
    for number, word in enumerate(body.program[:3]):
        if PurePath(word).name in ("manage.py", "django-admin") and number + 1 < len(body.program):
            return ("command", body.program[number + 1]), list(body.program[number + 2 :])
    return ("program", body.cwd), list(body.program)


def _shared_moment(first: Declaration, second: Declaration, now: datetime) -> datetime | None:
    """Return the next moment at which both are due, in the zone of *first*; None if none is seen."""
    names = [each.schedule.zone or conf.time_zone for each in (first, second)]
    if not all(map(is_zone, names)):
        return None  # crons.E004 says it
    zones = [ZoneInfo(name) for name in names]
    each_way = ((first, zones[0], second, zones[1]), (second, zones[1], first, zones[0]))
    for rare, rare_zone, other, other_zone in each_way:
        at = now
        for _ in range(SLOTS_COMPARED):
            at = rare.schedule.next_after(at, rare_zone)
            if at >= FAR_FUTURE:
                break
            if other.schedule.latest(at, other_zone) == at:
                return at.astimezone(zones[0])
    return None
