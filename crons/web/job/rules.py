"""By which rules an entry lives, in sentences, and where each of them comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crons import ledger
from crons.exceptions import CronsError
from crons.jobs import OURS, registry
from crons.models import AuditEvent, Entry
from crons.presentation import describe_arguments, describe_policy, describe_schedule, local

BUILT_IN = "built in"
# Words that describe_policy uses for a policy whose name is another.
NAMED = {"lost": "idempotent"}


@dataclass(frozen=True)
class Rule:
    """One rule; *origin* says who made it: the code, CRONS["DEFAULTS"], a person, or nobody."""

    name: str
    says: str
    origin: str


def rules_of(entry: Entry, events: Sequence[AuditEvent]) -> list[Rule]:
    """List the rules of *entry*, when it is due before all others; among *events* is who overrode what."""
    rules = [
        Rule("schedule", describe_schedule(entry), _of_when(entry, "schedule", events)),
        Rule("zone", entry.zone, _of_when(entry, "zone", events)),
    ]
    try:
        policy = ledger.policy_of(entry)
    except CronsError as error:
        return [*rules, Rule("policy", f"cannot be read: {error}", _declared_in(entry))]
    for label, sentence in describe_policy(policy):
        name = NAMED.get(label, label.replace(" ", "_"))
        rules.append(Rule(label, sentence, _of_policy(entry, name, getattr(policy, name, None))))
    if entry.args:
        rules.append(Rule("arguments", describe_arguments(entry.args), _declared_in(entry)))
    return rules


def _of_when(entry: Entry, name: str, events: Sequence[AuditEvent]) -> str:
    if "schedule" not in entry.overrides:
        return _declared_in(entry)
    declared = entry.overrides.get("declared" if name == "schedule" else "declared_zone")
    if declared == getattr(entry, name):
        return _declared_in(entry)
    made = next((event for event in events if event.verb == "reschedule" and event.subject == entry.name), None)
    who = "a person's override"
    if made is not None:
        reason = f": {made.reason}" if made.reason else ""
        who = f"override by {made.actor or 'somebody'}, {local(made.at, entry.zone)}{reason}"
    return f"{who}; the code says {declared or 'only by hand'}"


def _of_policy(entry: Entry, name: str, value: Any) -> str:
    if name in entry.overrides:
        return "override, written in the entry's row"
    try:
        defaults = registry.defaults()
    except CronsError:
        defaults = {}
    if name in defaults and defaults[name] == value:
        return 'CRONS["DEFAULTS"]'
    if value == getattr(OURS, name, None):
        return BUILT_IN
    return _declared_in(entry)


def _declared_in(entry: Entry) -> str:
    return f"{entry.source}: {entry.source_ref}" if entry.source_ref else entry.source
