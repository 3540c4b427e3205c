"""Watching: `problems` says what is wrong now, `incidents` tells people of what is wrong over time."""

from crons.watch.incidents import FAILING, fingerprint, inspect
from crons.watch.undeclared import inspect_declarations

__all__ = ["FAILING", "fingerprint", "inspect", "inspect_declarations"]
