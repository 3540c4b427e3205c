"""What is read: jobs, runs, attempts, incidents, problems and answers, as rows are said to people and to programs.

Nothing is shown raw that a job or a person wrote: control characters stay out, secrets of arguments too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry

from crons import models
from crons.contrib.graphql.asking import Refusal
from crons.contrib.graphql.pages import CronsConnection, connection
from crons.presentation import (
    describe_given,
    describe_run,
    describe_schedule,
    describe_state,
    describe_work,
    next_slot_at,
    readable,
    readable_line,
)
from crons.verdicts import Kind, Outcome, Reason, State, Verdict
from crons.watch import Problem
from crons.why import Answer

MOST_ATTEMPTS = 20
LONGEST_ERROR = 20_000

strawberry.enum(Kind, name="CronsKind", description="Why a run exists.")
strawberry.enum(State, name="CronsState", description="Where a run stands.")
strawberry.enum(Verdict, name="CronsVerdict", description="How a run, and with it its slot, ended.")
strawberry.enum(Outcome, name="CronsOutcome", description="How one attempt ended.")
strawberry.enum(Reason, name="CronsReason", description="Why a slot was skipped or missed.")


@strawberry.type(description="A job on a schedule with arguments: what a scheduler looks at.")
class CronsJob:
    """An entry."""

    row: strawberry.Private[models.Entry]

    name: str = strawberry.field(description="What it is known by.")
    function: str = strawberry.field(description="The declared job that it calls.")
    schedule: str = strawberry.field(description="When, as it was written; empty: only by hand.")
    zone: str = strawberry.field(description="The time zone in which the schedule is read.")
    description: str = strawberry.field(description="What it is for.")
    owner: str = strawberry.field(description="Who cares for it.")
    tags: list[str] = strawberry.field(description="Its tags.")
    is_paused: bool = strawberry.field(description="Whether its slots are skipped now.")
    paused_until: datetime | None = strawberry.field(description="When the pause ends by itself.")
    next_slot_at: datetime | None = strawberry.field(description="Its next slot, as planning last saw it.")
    accounted_until: datetime = strawberry.field(description="Every slot up to here has a verdict or a run.")
    retired_at: datetime | None = strawberry.field(description="Since when no code declares it.")

    @strawberry.field(description="When, in words.")
    def schedule_in_words(self) -> str:
        """Say the schedule."""
        return describe_schedule(self.row)

    @strawberry.field(description="That it is active, or why nothing of it runs, for people.")
    def state(self) -> str:
        """Say how it stands."""
        return readable_line(describe_state(self.row).text)

    @classmethod
    def of(cls, row: models.Entry) -> CronsJob:
        """Show *row*."""
        return cls(
            row=row, name=row.name, function=row.job, schedule=row.schedule, zone=row.zone,
            description=readable_line(row.description), owner=readable_line(row.owner),
            tags=[readable_line(str(each)) for each in row.tags],
            is_paused=row.paused_at is not None, paused_until=row.paused_until,
            next_slot_at=next_slot_at(row), accounted_until=row.accounted_until, retired_at=row.retired_at,
        )  # fmt: skip


@strawberry.type(description="One try at a run.")
class CronsAttempt:
    """An attempt."""

    row: strawberry.Private[models.Attempt]

    number: int = strawberry.field(description="Which try it is, from 1.")
    executor: str = strawberry.field(description="Where it ran.")
    host: str = strawberry.field(description="The machine that began it.")
    begun_at: datetime = strawberry.field(description="When it began.")
    ended_at: datetime | None = strawberry.field(description="When it ended.")
    exit_code: int | None = strawberry.field(description="What its program ended with.")
    cpu_seconds: float | None = strawberry.field(description="Processor time that it took.")

    @strawberry.field(description="How it ended; null while it goes on.")
    def outcome(self) -> Outcome | None:
        """Return the outcome."""
        return Outcome(self.row.outcome) if self.row.outcome else None

    @strawberry.field(description="Its error, from the end where it is long. Needs crons.view_attempt.")
    def error(self) -> str | None:
        """Return the error, where whoever asks may read what jobs write."""
        if self.row.refusal:  # type: ignore[attr-defined] # whoever has read the attempts has set it
            raise Refusal("FORBIDDEN", self.row.refusal)  # type: ignore[attr-defined]
        return readable(self.row.error)[-LONGEST_ERROR:] or None

    @strawberry.field(description="What its job says of its work, for people.")
    def work(self) -> str:
        """Say what it worked through."""
        work = getattr(self.row, "work", None)
        return readable_line(describe_work(work)) if work is not None else ""

    @classmethod
    def of(cls, row: models.Attempt) -> CronsAttempt:
        """Show *row*."""
        names = ("number", "executor", "host", "begun_at", "ended_at", "exit_code", "cpu_seconds")
        return cls(row=row, **{name: getattr(row, name) for name in names})


@strawberry.type(description="One slot of a job, or one request by hand.")
class CronsRun:
    """A run; its attempts are loaded with those of its page."""

    row: strawberry.Private[models.Run]
    attempts_of: strawberry.Private[Any]

    id: strawberry.ID = strawberry.field(description="Its number, which people see.")
    slot_at: datetime | None = strawberry.field(description="Its slot; null where somebody asked for it.")
    planned_at: datetime = strawberry.field(description="When it should begin.")
    recorded_at: datetime = strawberry.field(description="When it was recorded.")
    ended_at: datetime | None = strawberry.field(description="When it was over.")
    late_seconds: float | None = strawberry.field(description="By how much it was begun late, if it was.")
    tries: int = strawberry.field(description="How many attempts there were.")
    trigger: str = strawberry.field(description="Who looked at the clock.")
    detail: str = strawberry.field(description="What else is known of its end.")
    requested_by: str = strawberry.field(description="Who asked for it.")

    @strawberry.field(description="Why it exists.")
    def kind(self) -> Kind:
        """Return the kind."""
        return Kind(self.row.kind)

    @strawberry.field(description="Where it stands.")
    def state(self) -> State:
        """Return the state."""
        return State(self.row.state)

    @strawberry.field(description="How it ended; null while it is not over.")
    def verdict(self) -> Verdict | None:
        """Return the verdict."""
        return Verdict(self.row.verdict) if self.row.verdict else None

    @strawberry.field(description="Why it was skipped or missed.")
    def reason(self) -> Reason | None:
        """Return the reason."""
        return Reason(self.row.reason) if self.row.reason else None

    @strawberry.field(description="How it ended, or where it stands, in a sentence.")
    def headline(self) -> str:
        """Say how it ended."""
        return readable_line(describe_run(self.row).text)

    @strawberry.field(description="All that its job is called with, as JSON, but for secrets.")
    def arguments(self) -> str:
        """Write the arguments."""
        return readable_line(describe_given(self.row))

    @strawberry.field(description="The job that it is of.")
    def job(self) -> CronsJob:
        """Return the entry, read with the page."""
        return CronsJob.of(self.row.entry)

    @strawberry.field(description=f"Its attempts, the newest first, {MOST_ATTEMPTS} at most.")
    def attempts(self, first: int = MOST_ATTEMPTS) -> CronsConnection[CronsAttempt]:
        """Return its attempts; the first run of a page that is asked for them reads those of all."""
        if not 0 <= first <= MOST_ATTEMPTS:
            raise Refusal("BAD_USER_INPUT", f"first is {first}; expected 0 to {MOST_ATTEMPTS}.")
        found = self.attempts_of(self.row.pk)
        shown = found[:first]
        return connection(
            [CronsAttempt.of(each) for each in shown], [str(each.number) for each in shown],
            more=len(found) > first, after=None,
        )  # fmt: skip

    @classmethod
    def of(cls, row: models.Run, attempts_of: Any) -> CronsRun:
        """Show *row*; *attempts_of* gives the attempts of a run's id."""
        names = ("slot_at", "planned_at", "recorded_at", "ended_at", "late_seconds", "tries")
        told = {name: readable_line(getattr(row, name)) for name in ("trigger", "detail", "requested_by")}
        shown = {name: getattr(row, name) for name in names} | told
        return cls(row=row, attempts_of=attempts_of, id=strawberry.ID(str(row.pk)), **shown)


@strawberry.type(description="A piece of what an attempt wrote.")
class CronsPiece:
    """What stands together in one stream."""

    stream: str = strawberry.field(description="stdout, stderr or log.")
    text: str = strawberry.field(description="The text, without control characters.")


@strawberry.type(description="A page of what an attempt wrote, in order.")
class CronsOutput:
    """Some 65,000 characters."""

    attempt: int = strawberry.field(description="Which try wrote it.")
    pieces: list[CronsPiece] = strawberry.field(description="The pieces.")
    next: int | None = strawberry.field(description="Pass it as from to read on; null at the end of what there is.")


@strawberry.type(description="Something that is wrong over time.")
class CronsIncident:
    """An incident."""

    row: strawberry.Private[models.Incident]

    id: strawberry.ID = strawberry.field(description="Its number.")
    rule: str = strawberry.field(description="What found it.")
    severity: str = strawberry.field(description="critical, warning or info.")
    summary: str = strawberry.field(description="What is wrong, in a sentence.")
    count: int = strawberry.field(description="How often, or how many.")
    opened_at: datetime = strawberry.field(description="When it opened.")
    changed_at: datetime = strawberry.field(description="When it changed last.")
    closed_at: datetime | None = strawberry.field(description="When it was over; null while it is open.")
    acknowledged_at: datetime | None = strawberry.field(description="When somebody took it in hand.")
    acknowledged_by: str = strawberry.field(description="Who took it in hand.")
    snoozed_until: datetime | None = strawberry.field(description="Until when nothing is sent of it.")

    @strawberry.field(description="The job that it is about, if it is about one.")
    def job(self) -> CronsJob | None:
        """Return the entry, read with the page."""
        return CronsJob.of(self.row.entry) if self.row.entry is not None else None

    @classmethod
    def of(cls, row: models.Incident) -> CronsIncident:
        """Show *row*."""
        names = (
            "rule", "severity", "count", "opened_at", "changed_at", "closed_at", "acknowledged_at", "snoozed_until"
        )  # fmt: skip
        told = {name: readable_line(getattr(row, name)) for name in ("summary", "acknowledged_by")}
        shown = {name: getattr(row, name) for name in names} | told
        return cls(row=row, id=strawberry.ID(str(row.pk)), **shown)


@strawberry.type(description="One thing that is wrong now.")
class CronsProblem:
    """A problem."""

    kind: str = strawberry.field(description="The rule that found it.")
    job: str = strawberry.field(description="The job that it is about, or empty.")
    text: str = strawberry.field(description="What is wrong.")
    since: datetime | None = strawberry.field(description="Since when, where that is known.")
    next_step: str = strawberry.field(description="What to do.")
    run: strawberry.ID | None = strawberry.field(description="The run to look at.")

    @classmethod
    def of(cls, found: Problem) -> CronsProblem:
        """Show *found*."""
        return cls(
            kind=found.kind, job=found.entry, text=readable_line(found.text), since=found.since,
            next_step=readable_line(found.next_step),
            run=None if found.run_id is None else strawberry.ID(str(found.run_id)),
        )  # fmt: skip


@strawberry.type(description="What is wrong now.")
class CronsHealth:
    """As many problems as the first page lists."""

    problems: list[CronsProblem] = strawberry.field(
        description="What is wrong, the worst first, twenty at most; empty means well."
    )
    more: int = strawberry.field(description="How many problems are not shown.")


@strawberry.type(description="Why a slot ended as it did, or what will become of it.")
class CronsAnswer:
    """An answer of `why`."""

    job: str = strawberry.field(description="The job that was asked about.")
    at: datetime = strawberry.field(description="The slot.")
    status: str = strawberry.field(
        description="A verdict, a state, or to_come, no_slot, retired, unrecorded, not_kept."
    )
    reason: str = strawberry.field(description="The reason of the verdict, or empty.")
    headline: str = strawberry.field(description="The answer in a sentence.")
    because: list[str] = strawberry.field(description="What led to it.")
    next_steps: list[str] = strawberry.field(description="What to do.")
    run: strawberry.ID | None = strawberry.field(description="The run of that slot.")

    @classmethod
    def of(cls, found: Answer) -> CronsAnswer:
        """Show *found*."""
        return cls(
            job=found.entry, at=found.at, status=found.status, reason=found.reason,
            headline=readable_line(found.headline), because=[readable_line(each) for each in found.because],
            next_steps=[readable_line(each) for each in found.next_steps],
            run=None if found.run is None else strawberry.ID(str(found.run)),
        )  # fmt: skip
