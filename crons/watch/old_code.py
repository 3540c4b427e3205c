"""The rule *old code*: a scheduler runs other code than one started after it, for longer than a deploy takes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from crons.models import Heartbeat
from crons.presentation import describe_scheduler
from crons.watch.declarers import own_names
from crons.watch.look import Look, Problem

NAMED = 5


def old_code(look: Look) -> Iterator[Problem]:
    """The schedulers that know other jobs, or say another release, than the newest of their project. No statement."""
    for beat in look.schedulers:
        newest = max((each for each in look.schedulers if _is_same_project(each, beat)), key=_started, default=beat)
        if newest.started_at <= beat.started_at:
            continue
        if differences := list(_differences(beat, newest)):
            text = (
                f"{describe_scheduler(beat)} runs other code than {describe_scheduler(newest)}, which was started "
                f"after it: {'; '.join(differences)}"
            )
            after = "Start it again there with the new code"
            about = describe_scheduler(beat)
            yield Problem("old code", text, since=newest.started_at, next_step=after, about=about)


def _differences(old: Heartbeat, new: Heartbeat) -> Iterator[str]:
    if old.release and new.release and old.release != new.release:
        yield f"release {old.release}, not {new.release}"
    before, after = set(old.declares or ()), set(new.declares or ())
    if lacks := sorted(after - before):
        yield f"it does not know {_named(lacks)}"
    if besides := sorted(before - after):
        yield f"it still knows {_named(besides)}"


def _is_same_project(one: Heartbeat, other: Heartbeat) -> bool:
    """Say whether both declare a job that is not of crons itself: two projects may share a database."""
    if one.pk == other.pk:
        return True
    return not own_names(one.declares or ()).isdisjoint(own_names(other.declares or ()))


def _started(beat: Heartbeat) -> tuple[datetime, int]:
    return beat.started_at, beat.pk


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
