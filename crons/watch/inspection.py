"""Inspection: the rules are asked, and what they find opens, worsens and closes incidents.

`inspect` follows what runs have done since the last look and costs nothing where that is nothing; `inspect_rules` asks
all rules, once a minute in a process and in each tick.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime

from crons.exceptions import LedgerUnavailable
from crons.ledger import reading, verb, writing
from crons.side_output import get_log
from crons.watch import declared, declarers, endings, incidents, problems
from crons.watch.look import READ, Look, Problem
from crons.watch.over_time import OVER_TIME

log = get_log("crons")
# What these say holds for the process that asks, not for all: two processes would open and close it in turns.
OF_ONE_PROCESS = (problems.disabled, declared.broken, declared.unsynced)


def inspect(now: datetime) -> None:
    """Open, change and close the incidents of what has ended; their notices wait in the outbox."""
    try:
        endings.follow(now)
    except LedgerUnavailable as error:
        log.warning(
            "incidents could not be looked at; the next pass does it: %s", error, extra={"event": "alerts.waiting"}
        )


def inspect_rules(now: datetime, vouching: str = "") -> list[Problem] | None:
    """Ask all rules, and have their incidents follow; return what they found, None where they could not be asked.

    Args: *vouching* is what this process is called, if it has no heartbeat: it vouches for its entries first.
    Cost: some 12 statements while all is well, none of which grows with the history; one more with *vouching*.
    """
    if vouching:
        declarers.vouch(vouching, now)
    try:
        found, whole = _ask(now)
        _follow(found, whole, now)
        endings.tell_of_refusals(now)
    except LedgerUnavailable as error:
        log.warning("rules could not be asked; the next pass does it: %s", error, extra={"event": "alerts.waiting"})
        return None
    return found


@verb
def _ask(now: datetime) -> tuple[list[Problem], bool]:
    """Return what the rules find, and whether all of them could be asked."""
    # A scheduler has one thread: while it waited for somebody's lock here, its jobs' leases would end.
    with reading():
        look = Look(now)
        asked = [each for each in problems.RULES if each not in OF_ONE_PROCESS and each is not problems.incidents]
        found = [problem for rule in (*asked, *OVER_TIME) for problem in problems.ask(rule, look)]
    return found, not any(each.kind == "crons" for each in found)


@verb
def _follow(found: Collection[Problem], whole: bool, now: datetime) -> None:
    with reading() as using:
        is_open = incidents.followed(using)
    groups = incidents.grouped(found, set(is_open))
    named = {each.key for each in groups}
    kinds = Counter(each.kind for each in found)
    # A rule that failed says nothing of what is over: what others find may have the same kind, so all stay open. Nor
    # does one that found as many as it reads: what it has not come to may still be so.
    over = [pk for key, (pk, kind) in is_open.items() if whole and key not in named and kinds[kind] < READ]
    if not groups and not over:
        return
    with writing() as using:
        for each in groups:
            incidents.open_or_worsen(each, now, using)
        incidents.close_all(over[:READ], now, using)
