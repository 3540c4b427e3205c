"""The contract of a source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.utils.module_loading import import_string

from crons.exceptions import InvalidSetting, NotImported
from crons.jobs import Declaration
from crons.redaction import Redaction, of_project
from crons.redaction.shapes import without_secrets_in
from crons.schedules import Schedule, parse
from crons.sources.importing import FAILURES, describe_failure, importing

NOT_IMPORTED = (
    "Correct the path, or mend or install what its module imports; where it is gone for good, take the line away. "
    "Until then crons runs nothing for it, and all else as before."
)
LEFT = "Mend it, or take the line away. Until then crons runs nothing for it, and all else as before."


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line of a source; *id* is that of the system check.

    With *is_broken* the line cannot work as it stands, so what it would declare is not known.
    """

    id: str
    text: str
    hint: str
    is_broken: bool = False


@dataclass(frozen=True)
class Binding:
    """A line of a source that names a job declared in code: another way to fire the same entry."""

    entry: str
    schedule_text: str
    ref: str


@dataclass(frozen=True)
class Reading:
    """What a source holds: entries of its own, bindings to entries that code declares, and mistakes."""

    declarations: tuple[Declaration, ...] = ()
    bindings: tuple[Binding, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class NewPause:
    """Why an entry begins paused, and *by* whom."""

    by: str
    reason: str


class Source(ABC):
    """Reads declarations; reading twice gives the same, changes nothing and never raises for what it reads."""

    name: str

    @abstractmethod
    def read(self) -> Reading:
        """Return what is declared now."""

    def modules(self) -> Iterable[str]:
        """Name the modules that reading it imports."""
        return ()

    def rename_rows(self, now: datetime) -> list[str]:
        """Have rows follow what they belong to, where a name does not say it; return the new names.

        Called by sync before it writes.
        """
        return []

    def paused_from_start(self) -> Mapping[str, NewPause]:
        """Return the entries that begin paused because something else runs them as well, by name; asked by sync."""
        return {}

    def end_pauses(self, now: datetime) -> list[str]:
        """End such pauses where that is over, and say what still runs twice; sync calls it at its end."""
        return []


def imported(ref: str, path: str) -> Any:
    """Return what a line names by its *path*.

    Raises: NotImported, whatever the module raises while it is imported; the cause is kept.
    """
    try:
        with importing(path.rpartition(".")[0]):
            return import_string(path)
    except ImportError as error:
        raise NotImported(f"{ref} names {path!r}, which cannot be imported: {error}.") from error
    except FAILURES as error:  # somebody's module ran: one that fails must not take down each process of the project
        why = describe_failure(error)
        raise NotImported(f"{ref} names {path!r}, which cannot be imported: {why}.") from error


def without_secrets(text: str) -> str:
    """Return *text* in one line and without secrets: by their form, and those that the project keeps.

    Checks, pages and monitoring show it to more people than read the settings.
    Cost: all settings are looked through; Masking does that once for several texts.
    """
    return Masking().hide(text)


class Masking:
    """Hides secrets in texts; what the project keeps secret is asked when the first text comes."""

    def hide(self, text: str) -> str:
        """Return *text* as without_secrets does."""
        return self._of_project.hide(without_secrets_in(" ".join(text.split())))

    @cached_property
    def _of_project(self) -> Redaction:
        try:
            return of_project()
        except InvalidSetting:  # a check has it; which texts CRONS["REDACT"] hides is not known until it is mended
            return Redaction(())


def says(schedule: Schedule, text: str) -> bool:
    """Say whether *text* means the moments of *schedule*: @daily is 0 0 * * *, whatever their texts.

    Raises: InvalidSchedule if *text* cannot be read.
    """
    return _meaning(parse(text)) == _meaning(schedule)


def _meaning(schedule: Schedule) -> object:
    # A crontab text is read into what its fields allow; an every() has one text only.
    return getattr(schedule, "clock", schedule.text)
