"""The rule *old code*: a scheduler runs other code than one started after it, for longer than a deploy takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from crons.models import Heartbeat
from crons.presentation import describe_scheduler
from crons.watch.declarers import own_names
from crons.watch.look import Look, Problem

NAMED = 5


def old_code(look: Look) -> Iterator[Problem]:
    """The schedulers that know other jobs, or say another release, than the newest of their project.

    Cost: one statement where there are two schedulers or more.
    """
    beats = look.schedulers
    if len(beats) < 2:
        return
    declares = look.declares
    for beat in beats:
        newest = max((each for each in beats if _is_same_project(each, beat, declares)), key=_started, default=beat)
        if newest.started_at <= beat.started_at:
            continue
        if differences := list(_differences(beat, newest, declares)):
            text = (
                f"{describe_scheduler(beat)} runs other code than {describe_scheduler(newest)}, which was started "
                f"after it: {'; '.join(differences)}"
            )
            after = "Start it again there with the new code"
            about = describe_scheduler(beat)
            yield Problem("old code", text, since=newest.started_at, next_step=after, about=about)


def _differences(old: Heartbeat, new: Heartbeat, declares: Mapping[int, set[str]]) -> Iterator[str]:
    if old.release and new.release and old.release != new.release:
        yield f"release {old.release}, not {new.release}"
    before, after = declares.get(old.pk, set()), declares.get(new.pk, set())
    if lacks := sorted(after - before):
        yield f"it does not know {_named(lacks)}"
    if besides := sorted(before - after):
        yield f"it still knows {_named(besides)}"


def _is_same_project(one: Heartbeat, other: Heartbeat, declares: Mapping[int, set[str]]) -> bool:
    """Say whether both declare a job that is not of crons itself: two projects may share a database."""
    if one.pk == other.pk:
        return True
    return bool(own_names(declares.get(one.pk, set()) & declares.get(other.pk, set())))


def _started(beat: Heartbeat) -> tuple[datetime, int]:
    return beat.started_at, beat.pk


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
