"""`crons health`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crons import api, ledger
from crons.conf import conf
from crons.exceptions import InvalidSetting
from crons.management.verbs import Out, Verb
from crons.models import Heartbeat
from crons.presentation import as_json, distance, utc
from crons.watch import Problem


class Health(Verb):
    """What is wrong now, for monitoring and for people."""

    name = "health"
    help = (
        "Say what is wrong now. Exit code 0: all is well. 1: something is wrong, a line each.\n"
        "2: it cannot be found out, because the database does not answer, its tables are missing, CRONS in\n"
        "the settings is wrong, or the database belongs to another deployment: what the rows of a copy\n"
        "say is true of the original."
    )
    example = "health --json"
    failure_code = 2

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        if problems := conf.problems():
            # With some of them tick and run refuse to begin anything: rows that look well would be a lie.
            raise InvalidSetting(" ".join(problems))
        found = api.health()
        ledger.refuse_a_copy()
        now = ledger.database_now()
        alive = api.schedulers()
        if out.json:
            for problem in found:
                out.row({"model": "problem", **problem.as_json()})
            for pause in api.pauses():
                out.row({"model": "pause", **as_json(pause)})
            for beat in alive:
                out.row({"model": "heartbeat", **as_json(beat)})
        else:
            for problem in found:
                out.line(_in_words(problem), "bad")
            for pause in api.pauses():
                out.line(ledger.describe_pause(pause), "warn")
            if not found:
                out.line("Nothing is wrong.", "good")
            for beat in alive:
                out.line(_alive(beat, now))
            if not alive:
                out.line("No scheduler is running here; that is well where cron calls tick or run, or beat fires.")
        return 1 if found else 0


def _in_words(problem: Problem) -> str:
    about = f"{problem.entry}: " if problem.entry else ""
    since = f"; since {utc(problem.since)}" if problem.since else ""
    after = f". {problem.next_step}" if problem.next_step else ""
    return f"{problem.kind}: {about}{problem.text}{since}{after}"


def _alive(beat: Heartbeat, now: datetime) -> str:
    draining = ", draining" if beat.draining else ""
    release = f", release {beat.release}" if beat.release else ""
    skew = f", its clock is {beat.clock_skew_seconds:+.1f} s off" if abs(beat.clock_skew_seconds) >= 1 else ""
    started, seen = distance(beat.started_at, now), distance(beat.beat_at, now)
    return f"{beat.kind} on {beat.host} (pid {beat.pid}): started {started}, seen {seen}{release}{skew}{draining}"
