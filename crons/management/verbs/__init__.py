"""What `manage.py crons VERB` can do: one contract (base), a file per verb, imported only when asked for."""

from __future__ import annotations

from importlib import import_module

from crons.management.output import Out
from crons.management.verbs.base import (
    Verb,
    add_scope,
    argument,
    at_least_one,
    confirm,
    find_run,
    moment,
    operator,
    run_number,
    run_or_name,
)

__all__ = [
    "VERBS",
    "Out",
    "Verb",
    "add_scope",
    "argument",
    "at_least_one",
    "confirm",
    "find_run",
    "load",
    "moment",
    "operator",
    "run_number",
    "run_or_name",
]

# Verb → (module here, what it does). The class is the verb with a capital: `tick` is `Tick` in tick.py.
# The words stand here and not in the modules, or printing them would import them all.
VERBS: dict[str, tuple[str, str]] = {
    "serve": ("serve", "Look at the clock and run what is due, until stopped."),
    "tick": ("tick", "Look at the clock once and run what is due."),
    "run": ("run", "Run one entry now, or its slot when cron calls."),
    "list": ("entries", "List the entries: schedule, next slot, last verdict."),
    "next": ("upcoming", "List the slots that come next."),
    "history": ("history", "List what became of past slots, newest first."),
    "why": ("why", "Say why a slot was not run, or what will become of it."),
    "show": ("show", "Show all that is known of one run."),
    "log": ("log", "Print what a run wrote."),
    "sync": ("sync", "Bring the entries in step with the declarations."),
    "health": ("health", "Say what is wrong now, by exit code too."),
    "alert": ("alert", "List open incidents, answer them, try the channels."),
    "plan": ("plan", "Show what apply would change in the crontab or systemd."),
    "apply": ("apply", "Install this project's lines or units."),
    "undo": ("undo", "Take back what the last apply changed."),
    "doctor": ("doctor", "Say what would keep cron from running the jobs."),
    "pause": ("pause", "Skip the slots of an entry from now on."),
    "resume": ("resume", "End a pause."),
    "cancel": ("cancel", "Stop a run."),
    "retry": ("retry", "Try a run again that did not succeed."),
    "backfill": ("backfill", "Run the slots of a span that have no success."),
    "prune": ("prune", "Delete rows older than CRONS['KEEP'] says."),
    "reconcile": ("reconcile", "After a restore: run nothing twice."),
    "adopt": ("adopt", "Let this database fire from here."),
}


def load(name: str) -> Verb:
    """Import and return the verb called *name*."""
    module = import_module(f"{__name__}.{VERBS[name][0]}")
    verb: Verb = getattr(module, name.capitalize())()
    return verb
