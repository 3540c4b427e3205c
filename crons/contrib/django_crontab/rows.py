"""Rows follow their lines of CRONJOBS: by what a line calls and when, however the lines are ordered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from django.db.models import F

from crons.contrib.django_crontab.lines import REBOOT, Line, former_names, marked_name, name_of, plain_name
from crons.contrib.django_crontab.source import CronjobsSource, readable_lines
from crons.ledger import keep_keys, lock_deployment, note, verb, writing
from crons.models import Entry

BY = "crons sync"


@verb
def carry_over(now: datetime) -> list[str]:
    """Have each row called as the line is whose history it holds; return the new names of those that were not.

    A row is the line's of the same moments; else, where one row and one line of a call are left, of that one.
    Cost: one query where nothing is renamed.
    """
    lines = _declared()
    with writing() as using:
        lock_deployment(using)
        rows = list(Entry.objects.using(using).filter(source=CronjobsSource.name, retired_at=None).order_by("pk"))
        renamed = [(row, name) for row, name in _pairs(lines, rows) if row.name != name]
        in_the_way = Entry.objects.using(using).filter(name__in=[name for _, name in renamed])
        others = {each.name for each in in_the_way if each.source != CronjobsSource.name}
        renamed = [(row, name) for row, name in renamed if name not in others]
        # Out of each other's way first: two of them may exchange their names.
        leaving = {row.pk for row, _ in renamed}
        names = {row.pk: name for row, name in renamed}
        for each in in_the_way:
            if each.pk not in leaving and each.name not in others:
                own = marked_name(lines[each.name], _moments(each))
                is_free = own not in names.values() and not Entry.objects.using(using).filter(name=own).exists()
                names[each.pk] = own if is_free else f"{own}.{each.pk}"
        for row, _ in renamed:
            keep_keys(row, using)
        for pk in names:
            Entry.objects.using(using).filter(pk=pk).update(name=f"crons.aside.{pk}")
        for pk, name in names.items():
            Entry.objects.using(using).filter(pk=pk).update(name=name, version=F("version") + 1)
        for row, name in renamed:
            note("rename", "entry", name, BY, now, using, before={"name": row.name}, after={"name": name})
    return [name for _, name in renamed]


def _declared() -> dict[str, Line]:
    """Return the lines that are entries of their own, by name."""
    lines = readable_lines()
    declared = {each.name for each in CronjobsSource().read().declarations}
    return {name: line for line in lines if (name := name_of(line, lines)) in declared}


def _pairs(lines: dict[str, Line], rows: Iterable[Entry]) -> Iterator[tuple[Entry, str]]:
    """Yield each row with the name of its line."""
    by_call: dict[str, list[tuple[str, Line]]] = defaultdict(list)
    for name, line in lines.items():
        by_call[plain_name(line)].append((name, line))
    for same in by_call.values():
        line = same[0][1]
        mine = [row for row in rows if row.name in former_names(line, _moments(row))]
        left = []
        for name, each in same:
            row = next((row for row in mine if _moments(row) == each.moments), None)
            if row is None:
                left.append(name)
                continue
            mine.remove(row)
            yield row, name
        for row in [row for row in mine if row.name in left]:
            mine.remove(row)
            left.remove(row.name)
        if len(mine) == len(left) == 1:
            yield mine[0], left[0]


def _moments(row: Entry) -> str:
    """Return the schedule that was declared for *row*, whatever a person made of it since."""
    text = str(row.overrides.get("declared", row.schedule))
    return text or REBOOT
