"""Watching: what the rows say is wrong → incidents opened or closed → messages in the outbox.

One rule so far: a job is *failing*. The first failure opens its incident, another error changes it,
the next success closes it; each has one message, however many processes look at it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime

from django.db.models import Exists, OuterRef, Q

from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.ledger import verb, writing
from crons.models import Attempt, Entry, Incident, OutputChunk, Run
from crons.presentation import describe_progress, describe_work, progress_of, utc, work_of
from crons.side_output import get_log
from crons.verdicts import Verdict, named_error
from crons.watch.alerts import Notice, outbox

log = get_log("crons")
FAILING = "failing"
SEVERITY = "warning"
BATCH = 100
TAIL_CHUNKS = 20
TAIL_CHARACTERS = 4_000
# Numbers, addresses and ids differ from failure to failure of the same kind.
CHANGING = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\d+")


def inspect(now: datetime) -> None:
    """Open, change and close incidents as the rows say; their messages wait in the outbox."""
    try:
        while _open_or_change(now) == BATCH:
            pass
        _close(now)
    except LedgerUnavailable as error:
        log.warning("incidents could not be looked at; the next pass does it: %s", error)


@verb
def _open_or_change(now: datetime) -> int:
    with writing() as using:
        bad = Run.objects.using(using).filter(inspect_at__isnull=False).select_related("entry")
        runs = list(bad.select_for_update(of=_self(using)).order_by("ended_at", "pk")[:BATCH])
        for run in runs:
            _note(run, now, using)
        Run.objects.using(using).filter(pk__in=[run.pk for run in runs]).update(inspect_at=None)
    return len(runs)


@verb
def _close(now: datetime) -> None:
    better = Run.objects.filter(
        entry=OuterRef("entry_id"), verdict=Verdict.SUCCEEDED, ended_at__gt=OuterRef("changed_at")
    )
    still_open = Incident.objects.using(conf.database).filter(rule=FAILING, closed_at=None)
    over = Q(Exists(better)) | Q(entry__retired_at__isnull=False)
    if not still_open.filter(over).exists():
        return
    with writing() as using:
        healed = Incident.objects.using(using).filter(over, rule=FAILING, closed_at=None)
        for incident in healed.select_related("entry").select_for_update(of=_self(using)):
            incident.closed_at, incident.open_key = now, None
            incident.save(using=using, update_fields=["closed_at", "open_key"])
            if incident.entry is None or incident.entry.retired_at is not None:
                continue  # nobody waits for it any more
            outbox.enqueue(incident, "closed", _works_again(incident, incident.entry), now, using)


def _note(run: Run, now: datetime, using: str) -> None:
    attempt = Attempt.objects.using(using).filter(pk=run.current_attempt or 0).first()
    error = attempt.error if attempt else run.detail
    mark = fingerprint(run.verdict, error)
    key = f"{FAILING}:{run.entry_id}"
    ended_at = run.ended_at or now
    summary = f"{run.verdict.replace('_', ' ')}: {run.detail}"[:255]
    incident = Incident.objects.using(using).select_for_update().filter(open_key=key).first()
    if incident is None:
        incident = Incident.objects.using(using).create(
            rule=FAILING,
            entry=run.entry,
            open_key=key,
            fingerprint=mark,
            summary=summary,
            run=run,
            opened_at=ended_at,
            changed_at=ended_at,
        )
        outbox.enqueue(incident, f"failing:{mark}", _notice(run, attempt, incident, "opened", using), now, using)
        return
    changed = incident.fingerprint != mark
    incident.count += 1
    incident.changed_at, incident.run = max(incident.changed_at, ended_at), run
    incident.fingerprint, incident.summary = mark, summary
    incident.save(using=using)
    if changed:
        # Named after the error: two errors that take turns have one message each, not one at every turn.
        outbox.enqueue(incident, f"failing:{mark}", _notice(run, attempt, incident, "worsened", using), now, using)


def fingerprint(verdict: str, error: str) -> str:
    """Return the same mark for failures of the same kind: the verdict and the error's name without its numbers."""
    return hashlib.sha256(f"{verdict}\n{CHANGING.sub('#', named_error(error))}".encode()).hexdigest()


def _notice(run: Run, attempt: Attempt | None, incident: Incident, change: str, using: str) -> Notice:
    entry, verdict = run.entry, run.verdict.replace("_", " ")
    slot = f"slot {utc(run.slot_at)}" if run.slot_at else "asked for by hand"
    facts = [("run", f"{run.pk}, {slot}, begun {run.tries} time(s), trigger {run.trigger}")]
    text = ""
    if attempt is not None:
        work = work_of(attempt)
        work_done = {"reported": describe_work(work), "progress": describe_progress(progress_of(work))}
        facts += [(label, said) for label, said in work_done.items() if said]
        facts += [("attempt", f"{attempt.pk} on {attempt.host}")]
        text = f"{attempt.error.strip() or 'no error text'}\n\nLast output:\n{_tail(attempt, using) or '(none)'}"
    return Notice(
        change,
        FAILING,
        SEVERITY,
        f"{entry.name} {verdict}" if change == "opened" else f"{entry.name} fails differently: {verdict}",
        facts=tuple(facts),
        text=text,
        next_step=f"All of it: manage.py crons show {run.pk} ; manage.py crons log {run.pk}",
        entry=entry.name,
        owner=entry.owner,
        tags=tuple(str(tag) for tag in entry.tags),
        run_id=run.pk,
        attempt_id=attempt.pk if attempt else None,
        since=incident.opened_at,
    )


def _works_again(incident: Incident, entry: Entry) -> Notice:
    return Notice(
        "closed",
        FAILING,
        SEVERITY,
        f"{entry.name} works again",
        text=f"{entry.name} succeeded again after {incident.count} failed run(s) since {utc(incident.opened_at)}.",
        entry=entry.name,
        owner=entry.owner,
        tags=tuple(str(tag) for tag in entry.tags),
        since=incident.opened_at,
    )


def _tail(attempt: Attempt, using: str) -> str:
    last = OutputChunk.objects.using(using).filter(attempt=attempt).order_by("-seq")
    texts = list(last.values_list("text", flat=True)[:TAIL_CHUNKS])
    return "".join(reversed(texts))[-TAIL_CHARACTERS:].strip()


def _self(using: str) -> tuple[str, ...]:
    from django.db import connections

    return ("self",) if connections[using].features.has_select_for_update_of else ()
