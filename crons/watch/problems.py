"""What is wrong now: the one answer for `crons health`, the first page, the alerts and the metrics.

A problem is found by a rule: a function that reads a `Look` (rows and a clock, never the memory of a process that
runs jobs) and yields a `Problem` for each thing that is wrong. To add one:

1. write `def my_rule(look: Look) -> Iterator[Problem]`, here or in a module beside this one, that reads what
   several rules need from the look, and what only it needs in one statement, along an index and up to `READ` rows;
2. add it to `RULES`, in the order in which people should read;
3. give its kind a line in docs/reference/cli.md (`health`), and, if it costs a statement, move the count in
   tests/crons/test_board.py: the first page may cost twelve.

A rule that raises is a problem of its own (`crons`) and hides none of the others; only a database that does not
answer ends the look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from django.db import DatabaseError

from crons.conf import conf
from crons.exceptions import LedgerUnavailable
from crons.models import Entry, Incident
from crons.presentation import utc
from crons.side_output import get_log
from crons.watch.declared import broken, undeclared, unsynced
from crons.watch.hosts import clocks, hosts, scheduler, writes
from crons.watch.look import AHEAD, READ, Look, Problem
from crons.watch.rules import LOOKS
from crons.watch.waiting import stuck, waiting_runs

log = get_log("crons")


def find_problems(look: Look | None = None) -> list[Problem]:
    """List what is wrong now, in the order of the rules; an empty list means well.

    Raises: LedgerUnavailable if the database does not answer.
    """
    look = look or Look()
    return [problem for rule in RULES for problem in ask(rule, look)]


def ask(rule: Rule, look: Look) -> list[Problem]:
    """List what one rule finds; that it failed is a problem of the kind *crons*. Raises: LedgerUnavailable."""
    try:
        return list(rule(look))
    except DatabaseError as error:
        raise LedgerUnavailable(f"the database did not answer: {error}") from error
    except LedgerUnavailable:
        raise
    except Exception as error:
        log.exception("the rule %s failed", rule.__name__, extra={"event": "rule.failed", "rule": rule.__name__})
        text = f"the rule {rule.__name__} failed, so what it looks for is not known: {type(error).__name__}: {error}"
        return [Problem("crons", text, next_step="The log has the traceback; please report it.", about=rule.__name__)]


def disabled(look: Look) -> Iterator[Problem]:
    """This process is switched off; others may not be, but who asks here must not read that all is well."""
    if not conf.enabled:
        text = 'switched off: CRONS["ENABLED"] or CRONS_ENABLED in the environment says that this process may record '
        yield Problem("disabled", text + "and begin nothing")


def parked(look: Look) -> Iterator[Problem]:
    """The entries that cannot be planned; nothing of them is lost meanwhile."""
    for entry in look.stopped:
        if entry.parked_reason:
            text = f"cannot be planned: {entry.parked_reason}"
            after = "Once that is mended: manage.py crons sync"
            yield Problem.of("parked", text, entry, since=entry.accounted_until, next_step=after)


def ahead(look: Look) -> Iterator[Problem]:
    """The entries that are accounted for beyond now, so that nothing plans them: a clock was ahead."""
    for entry in look.stopped:
        yield from reaches_ahead(entry, look.now)


def reaches_ahead(entry: Entry, now: datetime) -> Iterator[Problem]:
    """Yield the problem of one entry that is accounted for beyond *now*."""
    if entry.retired_at is None and entry.accounted_until > now + AHEAD:
        text = (
            f"is accounted for until {utc(entry.accounted_until)}, which has not come: "
            "a clock was ahead, and nothing of it falls due before"
        )
        yield Problem.of("clock", text, entry, next_step="Set it back to now: manage.py crons reconcile --clock")


def incidents(look: Look) -> Iterator[Problem]:
    """The incidents that are open; each has the kind of its rule. Rules that look themselves say it themselves."""
    rows = Incident.objects.using(conf.database).filter(open_key__isnull=False, closed_at=None)
    rows = look.visible(rows.exclude(rule__in=LOOKS))
    found = list(rows.select_related("entry").order_by("-changed_at", "pk")[:READ])
    look.tell(found)
    for each in found:
        text = f"{each.summary} ({each.count} times)" if each.count > 1 else each.summary
        after = f"See: manage.py crons log {each.run_id}" if each.run_id else ""
        yield Problem.of(
            each.rule, text, each.entry, since=each.opened_at, next_step=after, run_id=each.run_id, incident=each
        )


def overdue(look: Look) -> Iterator[Problem]:
    """The entries that were to be planned, and nothing has looked."""
    after = "Start manage.py crons serve, or see why cron does not call manage.py crons tick"
    for entry in look.overdue:
        text = "was due, and nothing has looked" if entry.wake_at else "is declared, and nothing has looked yet"
        since = entry.wake_at or entry.accounted_until
        yield Problem.of("overdue", text, entry, since=since, next_step=after)


Rule = Callable[[Look], Iterator[Problem]]
RULES: list[Rule] = [
    disabled,
    writes,
    hosts,
    clocks,
    broken,
    undeclared,
    unsynced,
    parked,
    ahead,
    scheduler,
    incidents,
    stuck,
    waiting_runs,
    overdue,
]
