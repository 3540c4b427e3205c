"""Watching: `find_problems` says what is wrong now, `inspect` tells people of what is wrong over time."""

from crons.watch.alerts import (
    acknowledge,
    alive,
    build_channel,
    connect_pings,
    finish_pings,
    notice_of,
    send_due,
    snooze,
    try_channel,
)
from crons.watch.declared import absent
from crons.watch.declarers import living
from crons.watch.failing import FAILING, fingerprint
from crons.watch.inspection import inspect, inspect_rules
from crons.watch.look import READ, Look, Problem, all_rows, going
from crons.watch.problems import find_problems, reaches_ahead
from crons.watch.rules import OUTAGE, SHARED, terms_of
from crons.watch.rules import RULES as RULES_KNOWN
from crons.watch.usual import Usual, last_success_of, usual_besides, usual_of
from crons.watch.waiting import why_waiting

__all__ = [
    "FAILING",
    "OUTAGE",
    "READ",
    "RULES_KNOWN",
    "SHARED",
    "Look",
    "Problem",
    "Usual",
    "absent",
    "acknowledge",
    "alive",
    "all_rows",
    "build_channel",
    "connect_pings",
    "find_problems",
    "fingerprint",
    "finish_pings",
    "going",
    "inspect",
    "inspect_rules",
    "last_success_of",
    "living",
    "notice_of",
    "reaches_ahead",
    "send_due",
    "snooze",
    "terms_of",
    "try_channel",
    "usual_besides",
    "usual_of",
    "why_waiting",
]
