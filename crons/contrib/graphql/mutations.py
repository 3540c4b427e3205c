"""What operators do: the verbs of the pages, with their permissions, their reasons and their audit trail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import strawberry
from strawberry import Info
from strawberry.scalars import JSON

from crons import api, models
from crons.conf import conf
from crons.contrib.graphql import types
from crons.contrib.graphql.asking import (
    Refusal,
    allow,
    entry_named,
    key_of,
    name_of,
    no_entry,
    number_of,
    require,
    run_numbered,
)
from crons.contrib.graphql.runs import showing
from crons.exceptions import CronsError, LedgerUnavailable, UnknownJob
from crons.models import Entry, Incident, Run, is_text
from crons.presentation import readable_line
from crons.web import rights

LONGEST_REASON = 200
LONGEST_KEY = 100
VIEW_INCIDENT = "crons.view_incident"


class Code(StrEnum):
    """What kind of mistake it is. The names stay: programs decide by them."""

    REQUIRED = "REQUIRED"
    INVALID = "INVALID"
    NOT_FOUND = "NOT_FOUND"
    NOT_ALLOWED = "NOT_ALLOWED"


strawberry.enum(
    Code, name="CronsErrorCode", description="What kind of mistake it is. These names stay: decide by them."
)


@strawberry.type(description="One thing that is wrong with what was asked for. Nothing of it was done.")
class CronsUserError:
    """An error for programs and for people."""

    code: Code = strawberry.field(description="What kind of mistake it is.")
    message: str = strawberry.field(description="What came, what was expected, for people.")
    path: list[str] = strawberry.field(description='The way to the value, such as ["reason"]; empty: of the whole.')


@strawberry.type(description="The job as it stands now, or the errors for which nothing was done.")
class CronsJobPayload:
    """What became of a verb on a job."""

    job: types.CronsJob | None = strawberry.field(default=None, description="The job as it stands now.")
    errors: list[CronsUserError] = strawberry.field(default_factory=list, description="Empty where it was done.")


@strawberry.type(description="The run as it stands now, or the errors for which nothing was done.")
class CronsRunPayload:
    """What became of a verb on a run."""

    run: types.CronsRun | None = strawberry.field(
        default=None, description="The run as it stands now; null where you may not see runs of this job."
    )
    errors: list[CronsUserError] = strawberry.field(default_factory=list, description="Empty where it was done.")


@strawberry.type(description="The incident as it stands now, or the errors for which nothing was done.")
class CronsIncidentPayload:
    """What became of a verb on an incident."""

    incident: types.CronsIncident | None = strawberry.field(default=None, description="The incident as it stands now.")
    errors: list[CronsUserError] = strawberry.field(default_factory=list, description="Empty where it was done.")


class _Mistake(Exception):
    def __init__(self, code: Code, message: str, *path: str) -> None:
        super().__init__(message)
        self.error = CronsUserError(code=code, message=message, path=list(path))


@strawberry.type
class CronsMutation:
    """The fields that do something."""

    @strawberry.mutation(description="Record a run besides the schedule. Needs crons.run_entry.")
    def crons_run_now(
        self, info: Info[Any, Any], job: str, reason: str = "", arguments: JSON | None = None, key: str = ""
    ) -> CronsRunPayload:
        """Record a manual run; the next pass of a scheduler begins it. The same *key* gives the same run."""
        operator = require(info, "crons.run_entry")

        def do() -> dict[str, Any]:
            entry = _entry(operator, job, "crons.run_entry")
            if arguments is not None and not isinstance(arguments, dict):
                raise _Mistake(Code.INVALID, "arguments are no JSON object: expected names and values.", "arguments")
            if len(key) > LONGEST_KEY or not is_text(key):
                raise _Mistake(Code.INVALID, f"key has more than {LONGEST_KEY} characters, or NUL.", "key")
            told = {"by": name_of(operator), "reason": _reason(reason, is_needed=False)}
            asked = key_of(operator, key) if key else ""
            run = api.run_now(entry.name, args=arguments or None, key=asked, **told)
            return {"run": _as_it_stands(operator, run.pk)}

        return _answer(CronsRunPayload, do)

    @strawberry.mutation(description="Skip the slots of a job from now on. Needs crons.pause_entry.")
    def crons_pause(
        self, info: Info[Any, Any], job: str, reason: str, until: datetime | None = None
    ) -> CronsJobPayload:
        """Pause one entry, until *until* or until it is resumed."""
        operator = require(info, "crons.pause_entry")

        def do() -> dict[str, Any]:
            entry = _entry(operator, job, "crons.pause_entry")
            api.pause(entry.name, by=name_of(operator), reason=_reason(reason), until=_moment(until))
            return {"job": types.CronsJob.of(api.entry(entry.name))}

        return _answer(CronsJobPayload, do)

    @strawberry.mutation(description="Run the slots of a job again from now on. Needs crons.pause_entry.")
    def crons_resume(self, info: Info[Any, Any], job: str, reason: str = "") -> CronsJobPayload:
        """End one entry's own pause."""
        operator = require(info, "crons.pause_entry")

        def do() -> dict[str, Any]:
            entry = _entry(operator, job, "crons.pause_entry")
            if entry.paused_at is None:
                raise _Mistake(Code.NOT_ALLOWED, "It is not paused.", "job")
            row = api.resume(entry.name, by=name_of(operator), reason=_reason(reason, is_needed=False))
            return {"job": types.CronsJob.of(row)}

        return _answer(CronsJobPayload, do)

    @strawberry.mutation(description="Ask for a run to be stopped. Needs crons.cancel_run.")
    def crons_cancel(self, info: Info[Any, Any], run: strawberry.ID, reason: str) -> CronsRunPayload:
        """Stop a run: at once if nothing runs yet, else within a renewal of its lease."""
        operator = require(info, "crons.cancel_run")

        def do() -> dict[str, Any]:
            row = _run(operator, run, "crons.cancel_run")
            api.cancel(row.pk, by=name_of(operator), reason=_reason(reason))
            return {"run": _as_it_stands(operator, row.pk)}

        return _answer(CronsRunPayload, do)

    @strawberry.mutation(description="Open a run that did not succeed for another try. Needs crons.retry_run.")
    def crons_retry(self, info: Info[Any, Any], run: strawberry.ID, reason: str = "") -> CronsRunPayload:
        """Let a run be tried once more: same slot, same key, next attempt."""
        operator = require(info, "crons.retry_run")

        def do() -> dict[str, Any]:
            row = _run(operator, run, "crons.retry_run")
            api.retry(row.pk, by=name_of(operator), reason=_reason(reason, is_needed=False))
            return {"run": _as_it_stands(operator, row.pk)}

        return _answer(CronsRunPayload, do)

    @strawberry.mutation(description="Say that somebody has an incident in hand. Needs crons.acknowledge_incident.")
    def crons_acknowledge(
        self, info: Info[Any, Any], incident: strawberry.ID, reason: str = ""
    ) -> CronsIncidentPayload:
        """Acknowledge an open incident: no more reminders are sent of it."""
        operator = require(info, VIEW_INCIDENT, "crons.acknowledge_incident")

        def do() -> dict[str, Any]:
            row = _incident(operator, incident)
            api.acknowledge(row.pk, by=name_of(operator), reason=_reason(reason, is_needed=False))
            return {"incident": types.CronsIncident.of(_incident(operator, incident))}

        return _answer(CronsIncidentPayload, do)


def _answer(payload: Callable[..., Any], do: Callable[[], dict[str, Any]]) -> Any:
    """Return the payload of what *do* gives, or of the mistake for which nothing was done."""
    try:
        return payload(**do())
    except _Mistake as mistake:
        return payload(errors=[mistake.error])
    except LedgerUnavailable as error:
        raise Refusal("UNAVAILABLE", readable_line(str(error))) from error
    except CronsError as error:
        code = Code.NOT_FOUND if isinstance(error, UnknownJob) else Code.NOT_ALLOWED
        return payload(errors=[CronsUserError(code=code, message=readable_line(str(error)), path=[])])


def _entry(operator: Any, name: str, permission: str) -> Entry:
    found = entry_named(operator, name)
    if found is None:
        raise _Mistake(Code.NOT_FOUND, no_entry(name), "job")
    allow(operator, permission, found)
    return found


def _run(operator: Any, given: str, permission: str) -> Run:
    found = run_numbered(operator, given)
    if found is None:
        raise _Mistake(Code.NOT_FOUND, f"{readable_line(given)[:40]!r} is no run that you may see.", "run")
    allow(operator, permission, found.entry)
    return found


def _as_it_stands(operator: Any, number: int) -> types.CronsRun | None:
    row = run_numbered(operator, str(number))
    return None if row is None else showing(operator, [row])(row)


def _incident(operator: Any, given: str) -> models.Incident:
    number = number_of(given)
    rows = rights.concerning(operator, Incident.objects.using(conf.database), VIEW_INCIDENT).select_related("entry")
    found = None if number is None else rows.filter(pk=number).first()
    if found is None:
        raise _Mistake(Code.NOT_FOUND, f"{readable_line(given)[:40]!r} is no incident that you may see.", "incident")
    rights.tell(operator, [found])
    if found.entry is not None:
        allow(operator, "crons.acknowledge_incident", found.entry)
    elif not rights.may_all(operator, "crons.acknowledge_incident"):
        raise Refusal("FORBIDDEN", "It is about no single job, and you may acknowledge those of some jobs only.")
    return found


def _reason(given: str, *, is_needed: bool = True) -> str:
    reason = given.strip()
    if is_needed and not reason:
        raise _Mistake(Code.REQUIRED, "A reason is expected: whoever wonders later reads it.", "reason")
    if len(reason) > LONGEST_REASON or not is_text(reason):
        told = f"The reason has {len(reason)} characters: expected at most {LONGEST_REASON}, and no NUL."
        raise _Mistake(Code.INVALID, told, "reason")
    return reason


def _moment(given: datetime | None) -> datetime | None:
    if given is None:
        return None
    if given.tzinfo is None:
        raise _Mistake(Code.INVALID, "until has no offset: expected such as 2026-05-01T00:00:00Z.", "until")
    try:
        return given.astimezone(UTC)
    except OverflowError as error:
        raise _Mistake(Code.INVALID, "until is out of the range of moments.", "until") from error
