"""The ledger in Django's admin: looked at, operated by verbs with permissions, never edited.

*base* keeps lists fast, *acts* are the verbs, *output* reads what attempts wrote; then a file per subject.
"""

from crons.web.admin import attempts, entries, others, pauses, runs

__all__ = ["attempts", "entries", "others", "pauses", "runs"]
