"""What an executor gets of a row: an attempt as Begun, a due run that others are to begin as RunMessage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from crons.attempts import Begun, RunMessage
from crons.columns import UNREAD
from crons.conf import conf
from crons.exceptions import CronsError
from crons.jobs import Policy
from crons.ledger import queries
from crons.ledger.entries import account_of, closing, key_of, policy_of
from crons.models import Attempt, Run
from crons.verdicts import Kind


def begun(attempts: Sequence[Attempt], using: str) -> list[Begun]:
    """Return *attempts*, whose runs and entries are loaded, as their executors get them."""
    windows = queries.succeeded_before([attempt.run_id for attempt in attempts], using)
    return [_begun(attempt, attempt.run, windows[attempt.run_id]) for attempt in attempts]


def message(run: Run, policy: Policy, deployment: str) -> RunMessage:
    """Return a run that is marked as sent as it travels."""
    return RunMessage(
        run=run.pk,
        deployment=deployment,
        entry=run.entry.name,
        key=key_of(run),
        number=run.sends,
        executor=policy.executor,
        timeout=policy.timeout,
        route=policy.route,
        tries=run.tries,
    )


def _begun(attempt: Attempt, run: Run, last_success: datetime | None) -> Begun:
    entry = run.entry
    policy = policy_of(entry)
    return Begun(
        attempt=attempt.pk,
        run=run.pk,
        entry=entry.name,
        job=entry.job,
        key=key_of(run),
        number=attempt.number,
        kind=run.kind,
        trigger=run.trigger,
        since=_since(run, last_success),
        until=run.slot_at or run.planned_at,
        slot_at=run.slot_at,
        timeout=policy.timeout,
        lease=conf.lease,
        args={**entry.args, **(run.args or {})},
        executor=attempt.executor,
        instance=attempt.instance,
        closes_at=closing(run, policy, attempt.begun_at),
    )


def _since(run: Run, last_success: datetime | None) -> datetime:
    """Return where a run's window of work begins: with the last slot that succeeded, or with the entry."""
    if last_success not in (None, UNREAD):
        return last_success
    entry, until = run.entry, run.planned_at
    if entry.first_seen_at < until or run.kind != Kind.BACKFILL:
        return entry.first_seen_at
    # Filled in from before the entry was known: as if the slot before it had succeeded.
    try:
        account = account_of(entry)
    except CronsError:
        return until  # somebody has garbled the row since; it must not keep everybody from beginning
    return account.schedule.latest(until - timedelta.resolution, account.tz)
