"""Our rows among django-celery-beat's: what they say, what we wrote, and what people made of them.

A row's keyword arguments carry what was last written or followed: so an edit of a person is told from a
declaration that changed. The ledger follows such edits; a row that is not ours is never touched.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import router

from crons import api
from crons.contrib.celery.beat import fields
from crons.exceptions import CronsError, InvalidSchedule, TargetError
from crons.ledger import verb, writing
from crons.models import Entry, Pause
from crons.schedules import parse
from crons.side_output import get_log
from crons.targets import Unfit

log = get_log("crons")
APP = "django_celery_beat"
FIRE, TICK = "crons.fire", "crons.tick"
PREFIX = "crons:"
TICK_NAME = "crons.tick"
BY = "django-celery-beat"
# A message that no worker takes for so long is dropped: by then a tick has begun the run.
EXPIRES = {FIRE: timedelta(minutes=5), TICK: timedelta(minutes=1)}


@dataclass(frozen=True)
class Row:
    """What of a PeriodicTask is ours to say. *entry* is "" for the tick.

    *text*, *zone*: five fields and where they are read, or "every 600s"; *problem*: why they cannot be read.
    *written*, *was_enabled*: text, zone and enabled as last written or followed; written is None where that is gone.
    """

    entry: str
    text: str
    zone: str
    enabled: bool
    deployment: str
    written: tuple[str, str] | None
    was_enabled: bool
    problem: str = ""

    @property
    def name(self) -> str:
        """What the row is called among all."""
        return PREFIX + self.entry if self.entry else TICK_NAME

    @property
    def task(self) -> str:
        """What Celery runs."""
        return FIRE if self.entry else TICK

    @property
    def is_moved(self) -> bool:
        """Whether a person has changed when it fires."""
        is_readable = bool(self.entry) and not self.problem and self.written is not None
        return is_readable and (self.text, self.zone) != self.written

    @property
    def is_switched(self) -> bool:
        """Whether a person has disabled or enabled it."""
        return bool(self.entry) and self.enabled != self.was_enabled

    def kwargs(self) -> str:
        """Write the keyword arguments that the row's message carries."""
        text, zone = self.written or (self.text, self.zone)
        given: dict[str, Any] = {"entry": self.entry} if self.entry else {}
        given |= {"deployment": self.deployment}
        given |= {"written": {"schedule": text, "zone": zone, "enabled": self.was_enabled}}
        return json.dumps(given, sort_keys=True)

    def describe(self) -> str:
        """Return the row as one line for people."""
        off = "" if self.enabled else ", disabled"
        return f"{self.name}: {self.problem or f'{self.text} {self.zone}'.strip()}{off}"


def require() -> None:
    """Raise TargetError unless django-celery-beat is there to be asked."""
    if not apps.is_installed(APP):
        raise TargetError(
            f"{APP} is not in INSTALLED_APPS, so there are no rows to write: pip install 'django-crons[beat]', "
            f"put {APP!r} into INSTALLED_APPS, and run manage.py migrate."
        )


def read(entry: str | None = None) -> list[Row]:
    """Return our rows, or that of *entry*, by name."""
    rows = _ours() if entry is None else _ours().filter(name=PREFIX + entry)
    return [_row_of(each) for each in rows.order_by("name")]


@dataclass(frozen=True)
class Ticked:
    """When beat last fired the tick, as far as it has written that down; None: not since it was enabled."""

    enabled: bool
    at: datetime | None


def last_tick() -> Ticked | None:
    """Say when beat last fired the tick; None where there is no such row."""
    row = _ours().filter(name=TICK_NAME).first()
    return Ticked(row.enabled, row.last_run_at) if row is not None else None


def names_of_others(names: Iterator[str]) -> set[str]:
    """Return those of *names* that rows have which are not ours."""
    taken = _rows().filter(name__in=list(names)).exclude(task__in=[FIRE, TICK])
    return set(taken.values_list("name", flat=True))


def of_others(tasks: Collection[str], *, enabled: bool) -> list[tuple[str, str]]:
    """Return the name and the task of each row of others that fires one of *tasks*, or would if it were enabled."""
    rows = _rows().filter(task__in=list(tasks), enabled=enabled).exclude(task__in=[FIRE, TICK]).order_by("name")
    return list(rows.values_list("name", "task"))


def switch_off(names: Collection[str]) -> None:
    """Disable these rows of others, as django-celery-beat's admin does."""
    for each in _rows().filter(name__in=list(names)):
        each.enabled = False
        each.save(using=_alias())


def put(row: Row, queue: str) -> None:
    """Write *row*, a new one on *queue*; what people alone decide (queue, expiry, description) stays."""
    model = _model("PeriodicTask")
    schedule = _schedule_of(row)
    wanted = {"task": row.task, "args": "[]", "kwargs": row.kwargs(), "enabled": row.enabled, **schedule}
    found = _rows().filter(name=row.name).first()
    if found is None:
        expires = int(EXPIRES[row.task].total_seconds())
        found = model(name=row.name, expire_seconds=expires, description=_described(row), queue=queue or None)
    for name, value in wanted.items():
        setattr(found, name, value)
    found.save(using=_alias())


def drop(name: str) -> None:
    """Delete our row of that name."""
    for each in _ours().filter(name=name):
        each.delete(using=_alias())


def follow(entry: str | None = None, *, strict: bool = False) -> list[str]:
    """Apply to the ledger what people changed in the admin of django-celery-beat, and return what was done.

    Args: *entry* None is all of them.
    What cannot be followed is logged and tried again at the next look; with *strict* it is raised.
    Cost: one statement when nobody changed anything.
    """
    changed = [row for row in read(entry) if row.is_moved or row.is_switched]
    done = []
    for row in changed:
        try:
            done += _follow(row.entry)
        except CronsError as error:
            if strict:
                raise
            about = {"event": "beat.not_followed", "entry": row.entry}
            log.warning("%s: what was changed in %s cannot be followed: %s", row.entry, BY, error, extra=about)
    return done


def mirrored(entry: Entry) -> tuple[str, str] | None:
    """Return what a row says that fires when *entry* is declared to be due.

    Raises: Unfit.
    """
    text = entry.overrides.get("declared", entry.schedule)
    zone = entry.overrides.get("declared_zone", entry.zone)
    return fields.of(parse(text), zone)


def entries() -> dict[str, Entry]:
    """Return the ledger's entries in service, by name."""
    return {each.name: each for each in api.entries()}


def changed(row: Row | None, entry: Entry | None) -> tuple[str, str] | None:
    """Return what people made of an entry's time: in the row just now, or in the ledger before; None: nothing."""
    if row is not None and row.is_moved:
        return row.text, row.zone
    if entry is None or "schedule" not in entry.overrides:
        return None
    try:
        return fields.of(parse(entry.schedule), entry.zone)
    except (Unfit, InvalidSchedule):
        # An interval of a person's own that no crontab says: the row is one, too.
        return (entry.schedule, "") if entry.schedule.startswith("every ") else None


@verb
def _follow(name: str) -> list[str]:
    with writing():
        # Read again under its lock: another worker may have applied it meanwhile.
        found = _ours().select_related(None).select_for_update().filter(name=PREFIX + name).first()
        row = _row_of(found) if found is not None else None
        if row is None:
            return []
        done = []
        entry = api.entry(name)
        if row.is_moved:
            done.append(_move(row, entry))
        if row.is_switched:
            done.append(_switch(row, entry))
        when = row.written if row.problem else (row.text, row.zone)
        seen = replace(row, written=when, was_enabled=row.enabled)
        # update(), not save(): that would have beat read all rows again, and write columns that are not ours.
        _ours().filter(name=row.name).update(kwargs=seen.kwargs())
    return [each for each in done if each]


def _move(row: Row, entry: Entry) -> str:
    try:
        declared = mirrored(entry)
    except Unfit:
        declared = None
    if declared == (row.text, row.zone):
        api.reschedule(row.entry, None, by=BY, reason="set back in its admin")
        return f"{row.entry} falls due as declared again"
    api.reschedule(row.entry, row.text, zone=row.zone, by=BY, reason="changed in its admin")
    return f"{row.entry} falls due at {row.text!r} {row.zone}".rstrip()


def _switch(row: Row, entry: Entry) -> str:
    own = Pause.objects.using(entry._state.db).filter(entry=entry).first()
    if not row.enabled and own is None:
        api.pause(row.entry, by=BY, reason="disabled in its admin")
        return f"{row.entry} is paused"
    if row.enabled and own is not None and own.by == BY:
        api.resume(row.entry, by=BY)
        return f"{row.entry} is resumed"
    return ""  # somebody else's pause holds it, with or without this


def _row_of(found: Any) -> Row:
    entry = found.name.removeprefix(PREFIX) if found.task == FIRE else ""
    text = zone = problem = ""
    try:
        text, zone = fields.read(found)
    except Unfit as error:
        problem = str(error)
    try:
        given = json.loads(found.kwargs or "{}")
        written = given["written"]
        kept = (str(written["schedule"]), str(written["zone"]))
        return Row(entry, text, zone, found.enabled, str(given["deployment"]), kept, bool(written["enabled"]), problem)
    except (ValueError, TypeError, KeyError):
        # Somebody edited the arguments: what was written is not known any more, and apply writes it anew.
        return Row(entry, text, zone, found.enabled, "", None, found.enabled, problem)


def _schedule_of(row: Row) -> dict[str, Any]:
    """Return the columns that say when; rows of crontabs and intervals are shared, so none is ever changed."""
    columns: dict[str, Any] = {"crontab": None, "interval": None, "solar": None, "clocked": None}
    if row.text.startswith("every "):
        model = _model("IntervalSchedule")
        wanted = {"every": int(row.text.removeprefix("every ").removesuffix("s")), "period": model.SECONDS}
        columns["interval"] = _shared(model, wanted)
    else:
        values = dict(zip(fields.FIELDS, row.text.split(" "), strict=True))
        columns["crontab"] = _shared(_model("CrontabSchedule"), {**values, "timezone": row.zone})
    return columns


def _shared(model: Any, wanted: dict[str, Any]) -> Any:
    found = model.objects.using(_alias()).filter(**wanted).order_by("pk").first()
    return found or model.objects.using(_alias()).create(**wanted)


def _described(row: Row) -> str:
    if not row.entry:
        return "Does what is due and what no row fires, sends again what was lost, tells of failures. Written by crons."
    return f"Fires the entry {row.entry}. Its time and 'enabled' may be changed here; crons follows. Written by crons."


def _ours() -> Any:
    named = _rows().filter(task=FIRE, name__startswith=PREFIX) | _rows().filter(task=TICK, name=TICK_NAME)
    return named.select_related("crontab", "interval", "solar", "clocked")


def _rows() -> Any:
    require()
    return _model("PeriodicTask")._default_manager.using(_alias())


def _alias() -> str:
    return str(router.db_for_write(_model("PeriodicTask")))


def _model(name: str) -> Any:
    require()
    return apps.get_model(APP, name)
