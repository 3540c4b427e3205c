"""Jobs that this code declares and the database does not have: nobody wrote them yet, or somebody emptied it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from crons.conf import conf
from crons.jobs import registry
from crons.ledger import verb
from crons.ledger.transactions import reading
from crons.models import Entry

if TYPE_CHECKING:
    from crons.watch.problems import Look, Problem

NAMED = 5


def unsynced(look: Look) -> Iterator[Problem]:
    """The jobs that this process declares and that have no row, or one that is retired: none of them falls due."""
    from crons.watch.problems import Problem

    unseen = set(registry.entries) - {entry.name for entry in look.entries}
    if not unseen:
        return
    rows = dict(Entry.objects.using(conf.database).filter(name__in=unseen).values_list("name", "retired_at"))
    lacking = sorted(name for name in unseen if name not in rows)
    retired = sorted(name for name, retired_at in rows.items() if retired_at is not None)
    for names, where in ((lacking, "not in this database"), (retired, "retired in this database")):
        if names:
            text = f"declared here, but {where}, so that nothing of it falls due: {_named(names)}"
            yield Problem("unsynced", text, next_step="Write it: manage.py crons sync")


@verb
def absent() -> set[str]:
    """Name the entries that this process declares and that have no row at all. Cost: one statement."""
    declared = set(registry.entries)
    with reading() as using:
        return declared - set(Entry.objects.using(using).filter(name__in=declared).values_list("name", flat=True))


def _named(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
