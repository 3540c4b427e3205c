"""The contract of a source."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.utils.module_loading import import_string

from crons.exceptions import DeclarationError, InvalidSetting
from crons.jobs import Declaration, registry
from crons.redaction import of_project
from crons.schedules import Schedule, parse


@dataclass(frozen=True)
class Problem:
    """A line of a source that cannot work as it stands; *id* is that of the system check."""

    id: str
    text: str
    hint: str


@dataclass(frozen=True)
class Binding:
    """A line of a source that names a job declared in code: a second door to the same entry."""

    entry: str
    schedule_text: str
    ref: str


@dataclass(frozen=True)
class Reading:
    """What a source holds: entries of its own, doors to entries that code declares, and mistakes."""

    declarations: tuple[Declaration, ...] = ()
    bindings: tuple[Binding, ...] = ()
    problems: tuple[Problem, ...] = ()


class Source(ABC):
    """Reads declarations; reading twice gives the same, changes nothing and never raises for what it reads."""

    name: str

    @abstractmethod
    def read(self) -> Reading:
        """Return what is declared now."""


def imported(ref: str, path: str) -> Any:
    """Return what a line names by its *path*.

    Raises: DeclarationError, whatever the module raises while it is imported; the cause is kept.
    """
    try:
        with declaring():
            return import_string(path)
    except ImportError as error:
        raise DeclarationError(f"{ref} names {path!r}, which cannot be imported: {error}.") from error
    except Exception as error:  # somebody's module ran: one that fails must not take down each process of the project
        told = f"{type(error).__name__}: {error}"
        raise DeclarationError(f"{ref} names {path!r}, which cannot be imported: {told}.") from error


@contextmanager
def declaring() -> Iterator[None]:
    """Import somebody's modules inside; of those that fail nothing stays declared: their functions are half made.

    What they imported before stays: it is whole, and nobody imports it again.
    """
    before = [*registry.jobs.values(), *registry.entries.values()]
    known = set(map(id, before))
    try:
        yield
    except BaseException:
        bodies = {job.name: job.body for job in registry.jobs.values()}
        for entry in [each for each in registry.entries.values() if id(each) not in known]:
            if _home(entry.source_ref, bodies.get(entry.job)) not in sys.modules:
                del registry.entries[entry.name]
        for job in [each for each in registry.jobs.values() if id(each) not in known]:
            if _home(job.source_ref, job.body) not in sys.modules:
                del registry.jobs[job.name]
        raise


def _home(source_ref: str, body: Any) -> str:
    """Name the module that declares it; a function's reference does not say where its module's name ends."""
    module, sign, _ = source_ref.partition(":")
    return module if sign else str(getattr(body, "__module__", ""))


def without_secrets(text: str) -> str:
    """Return *text* in one line and without what the project keeps secret; as it is where that cannot be told.

    Checks, pages and monitoring show it to more people than read the settings.
    """
    text = " ".join(text.split())
    try:
        return of_project().hide(text)
    except InvalidSetting:  # a check has it; which texts CRONS["REDACT"] hides is not known until it is mended
        return text


def says(schedule: Schedule, text: str) -> bool:
    """Say whether *text* means the moments of *schedule*: @daily is 0 0 * * *, whatever their texts.

    Raises: InvalidSchedule if *text* cannot be read.
    """
    return _meaning(parse(text)) == _meaning(schedule)


def _meaning(schedule: Schedule) -> object:
    # A crontab text is read into what its fields allow; an every() has one text only.
    return getattr(schedule, "clock", schedule.text)
