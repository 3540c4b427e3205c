"""What Celery's beat fires by itself of the tasks that our entries run: each such task would run twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from crons.conf import conf
from crons.contrib.celery.beat import rows as beat_rows
from crons.contrib.celery.executor import CelerySender
from crons.exceptions import TargetError, nearest
from crons.jobs import Declaration, registry
from crons.models import Entry
from crons.schedules import Never


@dataclass(frozen=True)
class Twin:
    """A row of others, or an entry of an application's beat_schedule, that fires the task which *entry* runs."""

    entry: str
    task: str
    name: str
    is_row: bool

    def describe(self) -> str:
        """Say what fires it, and how that ends."""
        if self.is_row:
            where, do = f"the enabled row {self.name!r}", f"--switch-off {self.name!r} disables that row"
        else:
            where, do = f"beat_schedule[{self.name!r}]", "take it out of beat_schedule"
        return f"{self.entry} runs twice: {where} fires {self.task} too. To keep the entry, {do}"


def find(declarations: Iterable[Declaration]) -> list[Twin]:
    """Return what fires the tasks of *declarations* past the ledger; a paused entry runs nothing twice."""
    paused = set(Entry.objects.using(conf.database).exclude(paused_at=None).values_list("name", flat=True))
    names = _names_of_tasks()
    entries: dict[str, str] = {}
    for each in declarations:
        task = names.get(id(registry.get(each.job).body))
        if task is not None and each.name not in paused and not isinstance(each.schedule, Never):
            entries.setdefault(task, each.name)
    found = {name: Twin(entries[task], task, name, True) for name, task in beat_rows.of_others(entries, enabled=True)}
    # django-celery-beat makes a row of each when beat starts, and leaves it disabled when somebody did that.
    disabled = dict(beat_rows.of_others(entries, enabled=False))
    for name, task in _scheduled():
        if task in entries and name not in disabled:
            found.setdefault(name, Twin(entries[task], task, name, False))
    return sorted(found.values(), key=lambda twin: (twin.entry, twin.name))


def switched_off() -> Iterator[str]:
    """Say which rows of others stay disabled though they fire tasks that entries run."""
    bodies = {id(job.body) for job in registry.jobs.values()}
    tasks = [name for body, name in _names_of_tasks().items() if body in bodies]
    for name, task in beat_rows.of_others(tasks, enabled=False):
        yield f"the row {name!r}, which fires {task}, stays disabled: enable it in the admin if it is to fire again"


def check_names(asked: Collection[str], twins: Collection[Twin]) -> None:
    """Raise TargetError if one of *asked* is no row that fires a task of ours."""
    rows = [each.name for each in twins if each.is_row]
    for name in asked:
        if name not in rows:
            known = ", ".join(map(repr, rows)) or "none"
            raise TargetError(
                f"--switch-off {name!r}: no enabled row of that name fires a task of ours.{nearest(name, rows)} "
                f"Those that do: {known}."
            )


def _applications() -> list[Any]:
    senders = [conf.make_executor(alias) for alias in dict.fromkeys(["celery", *sorted(conf.executors)])]
    found: dict[int, Any] = {}
    for sender in senders:
        # A route that cannot be imported is crons.E013; without it no task of it is an entry's.
        if isinstance(sender, CelerySender) and not list(sender.problems({})):
            found.setdefault(id(sender.app), sender.app)
    return list(found.values())


def _names_of_tasks() -> dict[int, str]:
    """Return the names of all tasks that this process knows, by the identity of the function that a job calls."""
    tasks = [(name, task) for app in _applications() for name, task in app.tasks.items()]
    return {id(getattr(task, "_orig_run", task.run)): name for name, task in tasks}


def _scheduled() -> Iterator[tuple[str, str]]:
    for app in _applications():
        for name, given in dict(app.conf.beat_schedule or {}).items():
            if isinstance(given, dict) and isinstance(given.get("task"), str):
                yield str(name), given["task"]
