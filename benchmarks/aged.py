"""A ledger as it is after a year: made by the database itself, INSERT … SELECT, so many entries and so many runs.

Of ten runs one is of the first entry, which is due every half minute; the second has never succeeded, the third never
ran. The others share the rest, a minute apart, or a day where they are many. Some failed, were late, skipped, missed or
lost; what failed was tried twice. One run in eight wrote something, one in ten reported what it did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Model

from crons.hosts import boot_id
from crons.jobs.policies import Policy
from crons.models import (
    Attempt,
    AuditEvent,
    Delivery,
    Entry,
    Heartbeat,
    Incident,
    OutputChunk,
    Pause,
    Range,
    Run,
    WorkReport,
)
from crons.schedules import FAR_FUTURE
from crons.verdicts import State

BUSY, FAILING, IDLE = 1, 2, 3
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
DAY = 86_400
OPEN_INCIDENTS, CLOSED_INCIDENTS = 40, 5_000
AUDITED = 20_000
GOING, DUE, RETRYING = 20, 100, 30
OVERDUE = 10
LONG_OUTPUT = 500
# Indexes are made anew after more rows than these: kept, they take most of the time.
MANY = 2_000_000


def grow(entries: int, runs: int, now: datetime) -> None:
    """Make the ledger; the tables are empty before. Cost: a minute for a million runs, ten for ten million."""
    _Grown(entries, runs, now.replace(microsecond=0)).grow()


def analyze() -> None:
    """Give the database's planner statistics, and PostgreSQL its map of what is visible."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("ANALYZE")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            cursor.execute("VACUUM ANALYZE")


class _Grown:
    def __init__(self, entries: int, runs: int, now: datetime) -> None:
        self.entries, self.runs, self.now = entries, runs, now
        self.is_sqlite = connection.vendor == "sqlite"
        # Whole minutes apart, a day where they are many: with 100 entries a million runs are a week.
        self.step = 60 if entries <= 10_000 else DAY

    def grow(self) -> None:
        with _quickly(), _indexes_last(self.runs):
            self._entries()
            self._runs()
            self._attempts()
            self._written()
            self._ranges()
            self._audit()
        self._going()
        self._told()
        self._around()

    def _entries(self) -> None:
        number = "(n + 1)"
        zones = " ".join(f"WHEN {place} THEN '{zone}'" for place, zone in enumerate(ZONES))
        given = {
            "id": number,
            "name": f"'job_' || substr('000000' || {number}, length('000000' || {number}) - 5)",
            "schedule": self._schedule(number),
            "zone": f"CASE {number} %% {len(ZONES)} {zones} END",
            "owner": f"'team' || ({number} %% 20)",
            "tags": self._json(f"'[\"tag' || ({number} %% 50) || '\", \"shop\"]'"),
            "description": f"'Sends what job number ' || {number} || ' has found, and says so'",
            # Spread over the day that comes, so that measuring takes none of it by surprise; of ten nothing has looked.
            "wake_at": self._moment(
                f"{self._now} + CASE WHEN {number} %% {max(self.entries // OVERDUE, 1)} = 5 THEN -3600"
                f" ELSE 7200 + ({number} * 7919) %% {DAY} END"
            ),
            "paused_at": f"CASE WHEN {number} %% 101 = 0 THEN {self._moment(f'{self._now} - 7200')} END",
            "paused_by": f"CASE WHEN {number} %% 101 = 0 THEN 'ann' ELSE '' END",
            "parked_reason": f"CASE WHEN {number} %% 1009 = 0 THEN 'no such zone' ELSE '' END",
            "retired_at": (
                f"CASE WHEN {number} %% 211 = 0 THEN {self._moment(f'{self._now} - 86400 * ({number} %% 60)')} END"
            ),
        }
        pattern = Entry(
            job="noop", policy=Policy(catch_up="all").as_json(), first_seen_at=self.now - timedelta(days=400),
            accounted_until=self.now, source="code", declared_at=self.now, declared_by="serve on web1",
        )  # fmt: skip
        self._insert(Entry, given, pattern, self.entries)

    def _schedule(self, number: str) -> str:
        minute, hour = f"({number} %% 60)", f"(({number} / 60) %% 24)"
        often = "'* * * * *'" if self.step == 60 else f"{minute} || ' ' || {hour} || ' * * *'"
        return f"CASE WHEN {number} = {BUSY} THEN 'every 30s' WHEN {number} %% 7 = 0 THEN '0 2 * * *' ELSE {often} END"

    def _runs(self) -> None:
        """Make those that are over; how each ended hangs on its number."""
        is_busy = "n %% 10 = 0"
        others = self.entries - IDLE
        ends = (
            f"CASE WHEN entry = {FAILING} OR n %% 47 = 0 THEN 'failed' WHEN n %% 97 = 0 THEN 'skipped'"
            " WHEN n %% 211 = 0 THEN 'missed' WHEN n %% 503 = 0 THEN 'timed_out' WHEN n %% 1009 = 0 THEN 'lost'"
            " ELSE 'succeeded' END"
        )
        # The entry of each, and how long before the newest of its own it was due.
        is_failing = "n %% 1000 = 1"
        behind = f"({self.runs - 1} - n)"
        entry = f"CASE WHEN {is_busy} THEN {BUSY} WHEN {is_failing} THEN {FAILING} ELSE {IDLE} + 1 + n %% {others} END"
        behind = (
            f"CASE WHEN {is_busy} THEN {behind} / 10 * 30 WHEN {is_failing} THEN {behind} / 1000 * 60"
            f" ELSE {behind} / {others} * {self.step} END"
        )
        source = (
            f"(SELECT s.*, {ends} AS ends, {self._moment(f'{self._minute} - 60 - behind')} AS at FROM "
            f"(SELECT n, {entry} AS entry, {behind} AS behind FROM {self._series(self.runs)}) AS s) AS series"
        )
        given = {
            "id": "n + 1",
            "entry_id": "entry",
            "slot_at": "at",
            "planned_at": "at",
            "recorded_at": "at",
            "ended_at": self._after("at", "n %% 40"),
            "verdict": "ends",
            "reason": "CASE ends WHEN 'skipped' THEN 'overlap' WHEN 'missed' THEN 'deadline' ELSE '' END",
            "detail": "CASE ends WHEN 'failed' THEN 'ValueError: no rows' ELSE '' END",
            "tries": "CASE ends WHEN 'skipped' THEN 0 WHEN 'missed' THEN 0 WHEN 'failed' THEN 2 ELSE 1 END",
            "current_attempt": (
                f"CASE ends WHEN 'skipped' THEN NULL WHEN 'missed' THEN NULL WHEN 'failed' THEN n + 1 + {self.runs}"
                " ELSE n + 1 END"
            ),
            "late_seconds": "CASE WHEN n %% 101 = 0 THEN 600 END",
            "outage": "CASE WHEN n %% 1013 = 0 THEN 1 END",
        }
        self._insert(Run, given, Run(state=State.DONE, trigger="serve"), source=source)

    def _attempts(self) -> None:
        pattern = Attempt(executor="process", instance="i" * 32, host="web1", pid=4711, boot_id="b")
        for number, ids, of in ((1, "r.id", "r.tries > 0"), (2, f"r.id + {self.runs}", "r.tries = 2")):
            is_last = f"r.tries = {number}"
            given = {
                "id": ids,
                "run_id": "r.id",
                "number": str(number),
                "token": self._token(ids),
                "begun_at": self._after("r.planned_at", f"{number - 1}"),
                "ended_at": self._after("r.planned_at", f"{number} + r.id %% 30"),
                "outcome": f"CASE WHEN {is_last} THEN r.verdict ELSE 'failed' END",
                "error": "CASE WHEN r.verdict = 'failed' THEN 'Traceback (most recent call last): …' ELSE '' END",
                "exit_code": "CASE WHEN r.verdict = 'failed' THEN 1 ELSE 0 END",
                "cpu_seconds": "(r.id %% 100) / 50.0",
                "peak_memory_bytes": "50000000 + r.id %% 1000 * 1000",
            }
            self._insert(
                Attempt, given, pattern, source=f"(SELECT * FROM crons_run WHERE id <= {self.runs}) AS r", where=of
            )

    def _written(self) -> None:
        given = {"attempt_id": "a.id", "text": "'looked at ' || a.id || ' rows, changed 7'"}
        few = f"crons_attempt a WHERE a.id <= {self.runs} AND a.id %% 8 = 0"
        self._insert(OutputChunk, given, OutputChunk(seq=0, stream="stdout"), source=f"(SELECT a.* FROM {few}) AS a")
        given = {"attempt_id": "a.id", "examined": "a.id %% 1000", "changed": "7"}
        few = f"(SELECT a.* FROM crons_attempt a WHERE a.id <= {self.runs} AND a.id %% 10 = 0) AS a"
        self._insert(WorkReport, given, WorkReport(skipped={"closed": 3}), source=few)
        # The newest failure has written much.
        newest = Run.objects.filter(verdict="failed", entry=BUSY + 4).order_by("-planned_at", "-pk").first()
        if newest is not None and newest.current_attempt:
            OutputChunk.objects.filter(attempt=newest.current_attempt).delete()
            text = "".join(
                f"2026-11-30 12:00:00 INFO looked at row {line}, and changed nothing\n" for line in range(30)
            )
            OutputChunk.objects.bulk_create(
                OutputChunk(attempt_id=newest.current_attempt, seq=seq, stream=("stdout", "log")[seq % 2], text=text)
                for seq in range(LONG_OUTPUT)
            )

    def _ranges(self) -> None:
        count = max(self.runs // 100, 1)
        at = f"{self._minute} - 7200 - n / {self.entries} * {max(self.step, 3600)}"
        given = {
            "entry_id": f"1 + n %% {self.entries}",
            "first_at": self._moment(f"{at} - 540"),
            "last_at": self._moment(at),
            "verdict": "CASE WHEN n %% 3 = 0 THEN 'missed' ELSE 'skipped' END",
            "reason": "CASE WHEN n %% 3 = 0 THEN 'catch_up' ELSE 'paused' END",
        }
        self._insert(Range, given, Range(count=10, trigger="serve", recorded_at=self.now), count)

    def _audit(self) -> None:
        given = {
            "at": self._moment(f"{self._now} - n * 300"),
            "actor": "'person' || n %% 30",
            "verb": "CASE n %% 4 WHEN 0 THEN 'pause' WHEN 1 THEN 'resume' WHEN 2 THEN 'change' ELSE 'retry' END",
            "subject_type": "CASE WHEN n %% 4 = 3 THEN 'run' ELSE 'entry' END",
            "subject": (
                f"CASE WHEN n %% 4 = 3 THEN CAST(1 + n * 37 %% {self.runs} AS varchar(20)) ELSE 'job_' || "
                f"substr('000000' || (1 + n %% {self.entries}), length('000000' || (1 + n %% {self.entries})) - 5) END"
            ),
            "reason": "'because of ticket ' || n",
        }
        self._insert(AuditEvent, given, AuditEvent(), AUDITED)

    def _going(self) -> None:
        """Have some runs go on, some wait for their turn, and some for their next try."""
        first = self.runs + 1
        made = []
        for number in range(GOING + DUE + RETRYING):
            entry = 10 + number % (self.entries - 10)
            state = State.RUNNING if number < GOING else State.DUE if number < GOING + DUE else State.WAITING
            at = self.now - timedelta(seconds=20.5 + number)  # between whole seconds, where the others lie
            made.append(
                Run(
                    id=first + number, entry_id=entry, slot_at=at, planned_at=at, recorded_at=at, state=state,
                    trigger="serve", tries=0 if state == State.DUE else 1,
                    active_key=entry if state == State.RUNNING and number < self.entries - 10 else None,
                    current_attempt=3 * self.runs + number if state == State.RUNNING else None,
                    wake_at={
                        State.RUNNING: None, State.DUE: self.now - timedelta(minutes=10),
                        State.WAITING: self.now + timedelta(hours=2),
                    }[state],
                )
            )  # fmt: skip
        Run.objects.bulk_create(made)
        Attempt.objects.bulk_create(
            Attempt(
                id=run.current_attempt, run=run, number=1, token=f"{run.current_attempt:032x}", executor="process",
                instance="i" * 32, host="web1", pid=5_000 + run.pk % 100, boot_id="b", begun_at=run.planned_at,
                lease_until=self.now + timedelta(days=30),
            )
            for run in made if run.current_attempt
        )  # fmt: skip
        self._set_sequences()

    def _told(self) -> None:
        made = []
        for number in range(OPEN_INCIDENTS + CLOSED_INCIDENTS):
            is_open = number >= CLOSED_INCIDENTS
            entry = 1 + number % self.entries
            key = f"failed:{number}" if is_open else f"failed:{entry}"
            opened = self.now - timedelta(minutes=10 * (OPEN_INCIDENTS + CLOSED_INCIDENTS - number))
            made.append(
                Incident(
                    rule="failed", entry_id=entry, key=key, open_key=key if is_open else None, severity="critical",
                    fingerprint="f", summary="failed 3 times in a row: ValueError: no rows", count=3, opened_at=opened,
                    changed_at=opened, closed_at=None if is_open else opened + timedelta(minutes=7),
                    data={"next_step": "See: manage.py crons show 1"},
                )
            )  # fmt: skip
        incidents = Incident.objects.bulk_create(made, batch_size=500)
        Delivery.objects.bulk_create(
            (
                Delivery(incident=each, event=event, channel="mail", subject=each.summary, notice={}, state="sent",
                         tries=1, sent_at=each.opened_at)
                for each in incidents for event in ("opened", "reminder", "closed")
            ),
            batch_size=500,
        )  # fmt: skip
        paused = Entry.objects.filter(paused_at__isnull=False)[:50]
        Pause.objects.bulk_create(
            Pause(scope=f"entry:{each.pk}", entry=each, paused_at=each.paused_at, by="ann", reason="because of 1")
            for each in paused
        )

    def _around(self) -> None:
        """Have two schedulers live, which declare every entry."""
        names = list(Entry.objects.filter(retired_at=None).order_by("pk").values_list("name", flat=True))
        for number in (1, 2):
            Heartbeat.objects.create(
                instance=f"{number:032x}", kind="serve", host=f"web{number}", pid=100 + number,
                boot_id="another" + boot_id(), started_at=self.now - timedelta(days=3), beat_at=self.now,
                expected_by=min(FAR_FUTURE, self.now + timedelta(days=30)), release="2026.11", declares=names,
            )  # fmt: skip

    def _insert(
        self, model: type[Model], given: Mapping[str, str], pattern: Model, count: int = 0, *, source: str = "",
        where: str = "TRUE",
    ) -> None:  # fmt: skip
        """Insert rows of *source*, or of the numbers n below *count*: columns as *given* in SQL, or as *pattern*."""
        columns, written, values = [], [], []
        for field in model._meta.concrete_fields:
            if field.column == "id" and "id" not in given:
                continue
            columns.append(field.column)
            if field.column in given:
                written.append(given[field.column])
            else:
                written.append("%s")
                values.append(field.get_db_prep_save(getattr(pattern, field.attname), connection))
        table = model._meta.db_table
        source = source or self._series(count)
        sql = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(written)} FROM {source} WHERE {where}"
        with connection.cursor() as cursor:
            cursor.execute(sql, values)

    def _series(self, count: int) -> str:
        if self.is_sqlite:
            recursive = f"WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {count - 1})"
            return f"({recursive} SELECT n FROM s) AS series"
        return f"generate_series(0, {count - 1}) AS series(n)"

    @property
    def _now(self) -> int:
        return int(self.now.timestamp())

    @property
    def _minute(self) -> int:
        return self._now // 60 * 60

    def _moment(self, seconds: str) -> str:
        if self.is_sqlite:
            return f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', {seconds}, 'unixepoch')"
        return f"to_timestamp({seconds})"

    def _after(self, moment: str, seconds: str) -> str:
        if self.is_sqlite:
            return f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', {moment}, ({seconds}) || ' seconds')"
        return f"{moment} + make_interval(secs => {seconds})"

    def _token(self, number: str) -> str:
        # In order: a unique index takes them ten times as fast as random ones.
        if self.is_sqlite:
            return f"printf('%%032x', {number})"
        return f"lpad(to_hex({number}), 32, '0')::uuid"

    def _json(self, text: str) -> str:
        return text if self.is_sqlite else f"({text})::jsonb"

    def _set_sequences(self) -> None:
        if self.is_sqlite:
            return
        with connection.cursor() as cursor:
            for table in ("crons_entry", "crons_run", "crons_attempt"):
                cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))")


@contextmanager
def _quickly() -> Iterator[None]:
    """Write without care for what a crash would leave."""
    if connection.vendor != "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SET maintenance_work_mem = '512MB'")
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous = OFF")
        cursor.execute("PRAGMA cache_size = -1000000")
        yield
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA cache_size = -2000")


@contextmanager
def _indexes_last(runs: int) -> Iterator[None]:
    """Drop the indexes of what grows, and make them anew from whole tables."""
    if runs < MANY:
        yield
        return
    tables = json.dumps(["crons_run", "crons_attempt", "crons_outputchunk", "crons_range"])
    of_postgres = """
        SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN (SELECT json_array_elements_text(%s::json))
        AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = indexname)"""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
                " AND tbl_name IN (SELECT value FROM json_each(%s))", [tables]
            )  # fmt: skip
        else:
            cursor.execute(of_postgres, [tables])
        found = list(cursor.fetchall())
        for name, _ in found:
            cursor.execute(f'DROP INDEX "{name}"')
        yield
        for _, sql in found:
            cursor.execute(sql.replace("%", "%%"))
