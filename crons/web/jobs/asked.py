"""What the address of the list of jobs asks for: search, filters, order and place; nothing of it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.db.models import Q, QuerySet

from crons.models import Entry, is_text
from crons.presentation import words
from crons.verdicts import Verdict
from crons.web.jobs.orders import ORDER as ORDER
from crons.web.jobs.orders import Order as Order

STATES = {
    "": "any but retired",
    "active": "active",
    "running": "running",
    "paused": "paused",
    "parked": "cannot be planned",
    "retired": "retired",
}
VERDICTS = {"": "any", **{each.value: words(each.value) for each in Verdict}, "none": "none yet"}
ORDERS = {"name": "name", "-name": "name, from the end", "next": "next slot", "new": "newest first"}
LONGEST = 200
FIELDS = ("q", "state", "verdict", "owner", "tag", "source", "sort", "after")


@dataclass(frozen=True)
class Asked:
    """What is asked for, each as it stands in the address; *unknown* are the words that mean nothing here."""

    q: str = ""
    state: str = ""
    verdict: str = ""
    owner: str = ""
    tag: str = ""
    source: str = ""
    sort: str = "name"
    after: str = ""
    unknown: tuple[str, ...] = ()

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Asked:
        """Take what can be asked, and note what cannot."""
        found = {field: _storable(given.get(field, "")) for field in FIELDS}
        found["sort"] = found["sort"] or "name"
        unknown = []
        for field, known in (("state", STATES), ("verdict", VERDICTS), ("sort", ORDERS)):
            if found[field] not in known:
                unknown.append(f"{field} {found[field]!r}")
                found[field] = "name" if field == "sort" else ""
        asked = cls(**found, unknown=tuple(unknown))
        if asked.after and ORDER[asked.sort].place(asked.after) is None:
            return replace(asked, after="", unknown=(*unknown, f"place {asked.after!r}"))
        return asked

    @property
    def is_narrowed(self) -> bool:
        """Whether some entries are left out besides those that are retired."""
        return any((self.q, self.state, self.verdict, self.owner, self.tag, self.source))

    def address(self, **changed: str) -> str:
        """Return the query of the same list with *changed*; of another order or filter it begins at its start."""
        given = {field: getattr(self, field) for field in FIELDS} | {"after": "", **changed}
        if given["sort"] == "name":
            given["sort"] = ""
        return "?" + urlencode({name: value for name, value in given.items() if value})


def narrowed(rows: QuerySet[Entry], asked: Asked) -> QuerySet[Entry]:
    """Keep of *rows* what the columns of an entry say of themselves as *asked*; its state and verdict apart."""
    if asked.q:
        rows = rows.filter(Q(name__icontains=asked.q) | Q(description__icontains=asked.q) | Q(job__icontains=asked.q))
    if asked.owner:
        rows = rows.filter(owner=asked.owner)
    if asked.source:
        rows = rows.filter(source=asked.source)
    return rows.filter(tags__has_tag=asked.tag) if asked.tag else rows


def _storable(text: str) -> str:
    """Return what of *text* a database takes."""
    return "".join(letter for letter in text.strip()[:LONGEST] if is_text(letter))
