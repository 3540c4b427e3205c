"""The rule *failing*: a failure opens its incident, another error or many in a row worsen it, a success closes it."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.db import connections

from crons import ledger
from crons.ledger import newest
from crons.models import Attempt, Entry, Incident, OutputChunk, Run
from crons.presentation import (
    describe_progress,
    describe_work,
    incident_closed,
    incident_opened,
    progress_of,
    utc,
    work_of,
)
from crons.verdicts import BAD_VERDICTS, named_error
from crons.watch import outages
from crons.watch.alerts import Notice, enqueue
from crons.watch.circumstances import recalled
from crons.watch.rules import CRITICAL, WARNING, is_worse, terms_of, without_numbers

FAILING = "failing"
BATCH = 100
TAIL_CHUNKS = 20
TAIL_CHARACTERS = 4_000


@ledger.verb
def inspect_some(now: datetime) -> bool:
    """Look at runs that ended badly and that nobody has looked at; say whether there may be more."""
    with ledger.writing() as using:
        # Not by their verdict alone: of a year's failures these few are read, along the index of what is flagged.
        bad = Run.objects.using(using).filter(**ledger.FLAGGED, verdict__in=BAD_VERDICTS)
        bad = bad.select_related("entry")
        runs = list(bad.select_for_update(of=_self(using)).order_by("ended_at", "pk")[:BATCH])
        for run in runs:
            _note(run, now, using)
        outages.note(runs, (), now, using)
        Run.objects.using(using).filter(pk__in=[run.pk for run in runs]).update(inspect_at=None)
    return len(runs) == BATCH


@ledger.verb
def close_healed(now: datetime) -> None:
    """Close the incidents of what has succeeded since, and of what is retired.

    Cost: one statement, of twenty runs for each incident that is open.
    """
    healed = newest.healed(FAILING)
    if not healed:
        return
    with ledger.writing() as using:
        rows = Incident.objects.using(using).filter(pk__in=healed, rule=FAILING, closed_at=None)
        for incident in rows.select_related("entry").select_for_update(of=_self(using)).order_by("pk"):
            incident.closed_at, incident.open_key = now, None
            incident.save(using=using, update_fields=["closed_at", "open_key"])
            incident_closed(incident, using)
            if incident.entry is None or incident.entry.retired_at is not None:
                continue  # nobody waits for it any more
            if incident.data.get("untold"):
                continue  # nobody was told that it fails
            enqueue(incident, "closed", _works_again(incident, incident.entry), now, using)


def fingerprint(verdict: str, error: str) -> str:
    """Return the same mark for failures of the same kind: the verdict and the error's name without its numbers."""
    return hashlib.sha256(f"{verdict}\n{without_numbers(named_error(error))}".encode()).hexdigest()


def _note(run: Run, now: datetime, using: str) -> None:
    attempt = Attempt.objects.using(using).filter(pk=run.current_attempt or 0).first()
    mark = fingerprint(run.verdict, attempt.error if attempt else run.detail)
    key = f"{FAILING}:{run.entry_id}"
    ended_at = run.ended_at or now
    summary = f"{run.verdict.replace('_', ' ')}: {run.detail}"[:255]
    first_told = ledger.policy_or_default(run.entry).tell_after
    incident = Incident.objects.using(using).select_for_update().filter(open_key=key).first()
    if incident is None:
        incident = Incident(rule=FAILING, entry=run.entry, key=key, open_key=key, opened_at=ended_at)
        incident.fingerprint, incident.summary, incident.run, incident.changed_at = mark, summary, run, ended_at
        incident.severity = WARNING
        if first_told > 1:
            incident.data["untold"] = True
        incident.save(using=using)
        notice = _notice(run, attempt, incident, "opened", using)
        incident_opened(incident, notice.subject, using)
        if first_told == 1:
            enqueue(incident, f"failing:{mark}", notice, now, using)
        return
    changed = incident.fingerprint != mark
    incident.count += 1
    incident.changed_at, incident.run = max(incident.changed_at, ended_at), run
    incident.fingerprint, incident.summary = mark, summary
    in_a_row = incident.count in terms_of(FAILING).steps
    if in_a_row and is_worse(CRITICAL, incident.severity):
        incident.severity = CRITICAL
    waited = bool(incident.data.get("untold"))
    if waited and incident.count >= first_told:
        del incident.data["untold"]
    incident.save(using=using)
    if waited and incident.count < first_told:
        return  # it is seen, on pages and by `crons health`, and nobody is told yet
    if waited:
        notice = _notice(run, attempt, incident, "opened", using, f"failed {incident.count} times in a row")
        enqueue(incident, f"failing:{mark}", notice, now, using)
    elif in_a_row:
        notice = _notice(run, attempt, incident, f"failed {incident.count} times in a row", using)
        enqueue(incident, f"count:{incident.count}", notice, now, using)
    elif changed:
        # Named after the error: two errors that take turns have one message each, not one at every turn.
        notice = _notice(run, attempt, incident, "fails differently", using)
        enqueue(incident, f"failing:{mark}", notice, now, using)


def _notice(run: Run, attempt: Attempt | None, incident: Incident, what: str, using: str, times: str = "") -> Notice:
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
    facts += recalled(FAILING, entry, using)
    return Notice(
        "opened" if what == "opened" else "worsened",
        FAILING,
        incident.severity,
        f"{entry.name} {verdict}" if what == "opened" and not times else f"{entry.name} {times or what}: {verdict}",
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
        incident.severity,
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
    return ("self",) if connections[using].features.has_select_for_update_of else ()
