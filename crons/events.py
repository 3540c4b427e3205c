"""What happens, in one vocabulary: the table of events, the stream of them, and a formatter that writes JSON lines.

Standard library only, and no model: settings name the formatter, before there are any apps.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from crons.signals import attempt_begun, attempt_finished, recorded, run_ended

# Event → the fields that a record of it has, besides its text.
EVENTS: dict[str, tuple[str, ...]] = {
    "alerts.waiting": (),
    "attempt.begun": ("entry", "run", "attempt", "number", "slot", "trigger", "executor"),
    "attempt.finished": (
        "entry",
        "run",
        "attempt",
        "number",
        "slot",
        "trigger",
        "executor",
        "outcome",
        "exit_code",
        "again_at",
    ),
    "attempts.cancelling": ("attempts",),
    "attempts.doubtful": (),
    "attempts.released": ("attempts",),
    "beat.followed": (),
    "beat.not_followed": ("entry",),
    "broker.answers": ("executor",),
    "broker.silent": ("executor",),
    "database.cut": (),
    "declaration.refused": (),
    "declarations.broken": (),
    "delivery.failed": ("channel",),
    "delivery.given_up": ("channel",),
    "doctor.failed": ("part",),
    "entry.parked": ("entry",),
    "extension.failed": ("entry", "attempt"),
    "fork.threads": (),
    "fork_server.lost": (),
    "fork_server.missing": (),
    "heartbeat.kept": (),
    "import.slow": ("module_name",),
    "incident.closed": ("rule", "incident"),
    "incident.opened": ("rule", "incident"),
    "incident.reopened": ("rule", "incident"),
    "job.failed": ("entry", "job", "attempt"),
    "ledger.answers": (),
    "ledger.silent": (),
    "message.foreign": (),
    "message.refused": ("executor",),
    "pause.failed": ("entry",),
    "ping.given_up": (),
    "processes.left": ("attempt",),
    "progress.waiting": ("attempt",),
    "rights.failed": ("permission",),
    "row.mended": ("kind", "row", "column"),
    "rule.failed": ("rule",),
    "run.ended": ("entry", "run", "attempt", "slot", "verdict", "reason", "tries", "trigger"),
    "run.put_back": ("run",),
    "scheduler.anew": (),
    "scheduler.resting": (),
    "scheduler.started": ("pid", "places"),
    "scheduler.stopping": ("pid",),
    "sending.waiting": (),
    "setting.refused": ("setting",),
    "slot.recorded": ("entry", "slot"),
    "slots.accounted": ("first", "last", "count", "verdict", "reason"),
    "spans.not_sent": (),
    "tick.not_started": (),
    "tick.refused": (),
    "turn.failed": ("failures",),
    "zone.missing": ("entry", "zone"),
}
# DEBUG, and a name of its own: cron mails what a line writes, and a terminal has the verdicts already.
stream = logging.getLogger("crons.events")  # noqa: TID251 (receivers of send_robust: what they raise reaches nobody)
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JSONFormatter(logging.Formatter):
    """Writes each record as one line of JSON: `at`, `level`, `logger`, `event` where there is one, `text`, its fields.

    Whatever a record holds, the line is JSON, and one line: what has no form in it is written as its text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
        }
        fields = {name: value for name, value in vars(record).items() if name not in _OWN and name not in told}
        if "event" in fields:
            told["event"] = fields.pop("event")
        told["text"] = record.getMessage()
        told |= {name: value for name, value in fields.items() if name not in told}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        try:
            return json.dumps(told, default=str)
        except (TypeError, ValueError, RecursionError):  # keys that are no texts, a value that holds itself
            return json.dumps({name: value if isinstance(value, str) else repr(value) for name, value in told.items()})


def narrate() -> None:
    """Have the stream told of what the ledger writes; it costs a look at a level where nobody listens."""
    recorded.connect(_on_recorded, dispatch_uid="crons.events")
    attempt_begun.connect(_on_begun, dispatch_uid="crons.events")
    attempt_finished.connect(_on_finished, dispatch_uid="crons.events")
    run_ended.connect(_on_ended, dispatch_uid="crons.events")


def is_end_heard() -> bool:
    """Say whether anybody hears that a run has ended: who listens to the stream, or another receiver of the signal."""
    return stream.isEnabledFor(logging.DEBUG) or any(each[0][0] != "crons.events" for each in run_ended.receivers)


def _on_recorded(recorded: Any, **_: Any) -> None:
    if not stream.isEnabledFor(logging.DEBUG):
        return
    for entry, slot in recorded.runs:
        stream.debug("slot recorded", extra={"event": "slot.recorded", "entry": entry, "slot": slot.isoformat()})
    for each in recorded.ranges:
        span = {"first": each.first_at.isoformat(), "last": each.last_at.isoformat(), "count": each.count}
        about = {"entry_id": each.entry_id, **span, "verdict": each.verdict, "reason": each.reason}
        stream.debug("slots accounted for", extra={"event": "slots.accounted", **about})


def _on_begun(begun: Any, **_: Any) -> None:
    if not stream.isEnabledFor(logging.DEBUG):
        return
    about = {name: getattr(begun, name) for name in ("entry", "run", "attempt", "number", "trigger", "executor")}
    slot = begun.slot_at.isoformat() if begun.slot_at else None
    stream.debug("attempt begun", extra={"event": "attempt.begun", **about, "slot": slot})


def _on_finished(attempt: Any, **_: Any) -> None:
    if not stream.isEnabledFor(logging.DEBUG):
        return
    run = attempt.run
    about = {name: getattr(attempt, name) for name in ("number", "executor", "outcome", "exit_code")}
    about |= {"entry": run.entry.name, "run": run.pk, "attempt": attempt.pk, "trigger": run.trigger}
    # Only a run that is to be tried again has a moment to wake at.
    slot, again_at = (each.isoformat() if each else None for each in (run.slot_at, run.wake_at))
    stream.debug("attempt finished", extra={"event": "attempt.finished", **about, "slot": slot, "again_at": again_at})


def _on_ended(run: Any, **_: Any) -> None:
    if not stream.isEnabledFor(logging.DEBUG):
        return
    about = {name: getattr(run, name) for name in ("verdict", "reason", "tries", "trigger")}
    about |= {"entry": run.entry.name, "run": run.pk, "attempt": run.current_attempt}
    slot = run.slot_at.isoformat() if run.slot_at else None
    stream.debug("run ended", extra={"event": "run.ended", **about, "slot": slot})
