"""django-celery-beat's tables: a row for each entry, and one for the tick that sees to all the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from django.db import IntegrityError

from crons.conf import conf
from crons.contrib.celery.beat import fields
from crons.contrib.celery.beat import rows as beat_rows
from crons.contrib.celery.beat import twins as beat_twins
from crons.contrib.celery.beat.rows import Row
from crons.contrib.celery.executor import CelerySender
from crons.exceptions import CronsError, TargetError
from crons.jobs import Declaration
from crons.ledger import deployment
from crons.targets import PER_JOB, TICK, Plan, Target, Unfit, Words, state

EVERY_MINUTE = ("* * * * *", "UTC")
LEFT = "crons.tick fires it, up to a minute late"


class BeatTarget(Target):
    """Rows of PeriodicTask that Celery's beat fires; what people change in them stands."""

    name = "beat"
    modes = (TICK, PER_JOB)
    words = Words("django-celery-beat", "what is ours", "row")
    plan_options: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "switch_off": {
            "action": "append",
            "default": [],
            "metavar": "ROW",
            "help": "beat: disable this row of others, which fires the task of an entry past the ledger; "
            "may be repeated.",
        }
    }

    def __init__(self, *, take_over: bool = False, switch_off: Collection[str] = ()) -> None:
        """*switch_off*: names of rows of others that fire tasks of our entries."""
        super().__init__(take_over=take_over)
        self.switch_off = sorted(set(switch_off))
        beat_rows.require()
        self.identity = deployment.here().identity
        key = hashlib.sha256(self.identity.encode()).hexdigest()[:16]
        self.backups = state.Backups(f"beat-{key}", file=state.ROWS)

    def plan(self, declarations: Iterable[Declaration], *, mode: str | None = None) -> Plan:
        """Compare our rows with what the declarations say, under what people changed."""
        declarations, found = list(declarations), beat_rows.read()
        twins = beat_twins.find(declarations)
        beat_twins.check_names(self.switch_off, twins)
        mode = mode or (TICK if [row.name for row in found] == [beat_rows.TICK_NAME] else PER_JOB)
        wanted, refused, notes = self._wanted(declarations if mode == PER_JOB else (), found)
        taken = beat_rows.names_of_others(row.name for row in wanted)
        if taken:
            raise TargetError(
                f"{', '.join(sorted(taken))}: rows of that name are there already and are not ours: rename them."
            )
        return Plan(
            target=self.name,
            mode=mode,
            found=_packed(found),
            wanted=_packed(wanted),
            ours=(*(row.describe() for row in found), *(f"{name}: enabled, not ours" for name in self.switch_off)),
            ours_wanted=(
                *(row.describe() for row in wanted),
                *(f"{name}: disabled, not ours" for name in self.switch_off),
            ),
            drift="; ".join(_drift(found, self.identity)),
            refused=refused,
            notes=notes,
            ticks=True,
            blocked=tuple(twin.describe() for twin in twins if twin.name not in self.switch_off),
            switches=tuple(self.switch_off),
        )

    def plan_undo(self, *, everything: bool = False) -> Plan:
        """Plan to delete our rows, or to replace them by those of the newest backup."""
        found = beat_rows.read()
        kept = None if everything else self.backups.newest(but=_packed(found))
        if kept is None and not everything:
            raise TargetError(
                f"nothing to undo: no backup in {self.backups.folder}. "
                "To take our rows away altogether: manage.py crons undo --to beat --all"
            )
        before = _unpacked(self.backups.read(kept)) if kept else []
        # What people had made unreadable is not made so again.
        wanted = [replace(row, written=row.written or (row.text, row.zone)) for row in before if not row.problem]
        return Plan(
            target=self.name,
            mode="",
            found=_packed(found),
            wanted=_packed(wanted),
            ours=tuple(row.describe() for row in found),
            ours_wanted=tuple(row.describe() for row in wanted),
            undoes=kept,
            notes=tuple(beat_twins.switched_off()),
        )

    def write(self, plan: Plan) -> Path | None:
        """Write the rows that *plan* wants, after the ledger has applied what people changed in them."""
        with state.locked(self.name):
            _refuse_changed(plan)
            kept = self.backups.keep(plan.found)
            beat_rows.follow(strict=True)  # what is written next would hide an edit that was not
            _put(plan)
            beat_rows.switch_off(plan.switches)
            return kept

    def write_undo(self, plan: Plan) -> Path | None:
        """Write the rows that *plan* wants, and keep what it undid."""
        with state.locked(self.name):
            _refuse_changed(plan)
            undone = self.backups.keep(plan.found, suffix=state.UNDONE)
            _put(plan)
            if plan.undoes is not None:
                self.backups.use(plan.undoes)
            return undone

    def _wanted(
        self, declarations: Iterable[Declaration], found: list[Row]
    ) -> tuple[list[Row], tuple[tuple[str, str], ...], tuple[str, ...]]:
        known = {row.name: row for row in found}
        entries = beat_rows.entries()
        rows, refused, notes = [], [], []
        for each in sorted(declarations, key=lambda declaration: declaration.name):
            row = known.get(beat_rows.PREFIX + each.name)
            zone = each.schedule.zone or conf.time_zone
            try:
                when = fields.of(each.schedule, zone)
            except Unfit as error:
                when, reason = None, f"{each.schedule.text!r} cannot be a row: {error}; {LEFT}"
            else:
                reason = ""
            changed = beat_rows.changed(row, entries.get(each.name))
            if changed is not None and changed != when:
                notes.append(f"people made it {_time(changed)}, declared is {each.schedule.text!r}: {each.name}")
                when, reason = changed, ""
            if reason:
                refused.append((each.name, reason))
            entry = entries.get(each.name)
            if row is not None and not row.enabled and not row.is_switched and entry and entry.paused_at is None:
                notes.append(f"its row is disabled and it is not paused, so only crons.tick fires it: {each.name}")
            if when is not None:
                rows.append(self._row(each.name, when, enabled=row is None or row.enabled))
        tick = known.get(beat_rows.TICK_NAME)
        rows.append(self._row("", EVERY_MINUTE, enabled=tick is None or tick.enabled))
        return sorted(rows, key=lambda row: row.name), tuple(refused), tuple(notes)

    def _row(self, entry: str, when: tuple[str, str], *, enabled: bool) -> Row:
        return Row(entry, *when, enabled, self.identity, when, enabled)


def _drift(found: list[Row], identity: str) -> Iterable[str]:
    for row in found:
        who = row.entry or row.name
        if row.problem:
            yield f"{who} is not followed, {row.problem}"
        elif row.written is None:
            yield f"{who} has other arguments than ours"
        elif row.deployment != identity:
            yield f"{who} was written for another deployment, and fires nothing here"
        if row.is_moved:
            yield f"{who} was made {_time((row.text, row.zone))} by people, who found {_time(row.written or ('', ''))}"
        if row.is_switched:
            yield f"{who} was {'enabled' if row.enabled else 'disabled'} by people"
        if not row.entry and not row.enabled:
            yield "crons.tick is disabled: what no row fires is not done"


def _time(when: tuple[str, str]) -> str:
    return f"'{when[0]}' {when[1]}".rstrip()


def _put(plan: Plan) -> None:
    wanted, queue = _unpacked(plan.wanted), _queue()
    for row in beat_rows.read():
        if row.name not in {each.name for each in wanted}:
            beat_rows.drop(row.name)
    try:
        for row in wanted:
            beat_rows.put(row, queue)
    except IntegrityError as error:
        raise TargetError("somebody else wrote rows of those names at the same moment: try again.") from error
    if _packed(beat_rows.read()) != plan.wanted:
        raise TargetError("our rows, read back, are not what was written: somebody else changed them. Try again.")


def _queue() -> str:
    """Name the queue that workers are told to read by the settings; "" is the application's default."""
    senders = [conf.make_executor(alias) for alias in ("celery", *sorted(conf.executors))]
    return next((each.queue for each in senders if isinstance(each, CelerySender) and each.queue), "")


def _refuse_changed(plan: Plan) -> None:
    if _packed(beat_rows.read()) != plan.found:
        raise TargetError("the rows were changed since they were planned, so nothing was written: look at them again.")


def _packed(rows: Iterable[Row]) -> bytes:
    return json.dumps([asdict(row) for row in rows], indent=1).encode()


def _unpacked(content: bytes | None) -> list[Row]:
    given: list[dict[str, Any]] = json.loads(content or b"[]")
    try:
        rows = [Row(**each) for each in given]
        return [replace(row, written=row.written and (row.written[0], row.written[1])) for row in rows]
    except TypeError as error:
        raise CronsError(f"the backup is none of this release: {error}") from error
