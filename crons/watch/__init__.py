"""Watching: `problems` says what is wrong now, `incidents` tells people of what is wrong over time."""

from crons.watch.incidents import FAILING, fingerprint, inspect

__all__ = ["FAILING", "fingerprint", "inspect"]
