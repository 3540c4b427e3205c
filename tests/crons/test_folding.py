"""Equal problems as one: what an outage does to seventeen entries is one thing to know."""

from __future__ import annotations

from crons.models import Entry
from crons.watch import Problem
from crons.web.folding import fold
from tests.crons.conftest import NOON, minutes


def overdue(number, text="was due, and nothing has looked", **more):
    return Problem.of("overdue", text, Entry(name=f"job{number}"), since=NOON - minutes(number), **more)


def test_what_says_the_same_of_many_is_one():
    """In the place of the first of them, with its earliest moment."""
    parked = Problem.of("parked", "cannot be planned", Entry(name="other"))

    [first, folded] = fold([parked, *(overdue(n) for n in range(17))])

    assert first.problems == [parked]
    assert (first.is_one, folded.is_one) == (True, False)
    assert [each.entry for each in folded.named] == ["job0", "job1", "job2"]
    assert len(folded.others) == 14
    assert folded.since == NOON - minutes(16)
    assert folded.kind == "overdue"


def test_numbers_and_names_in_what_they_say_do_not_keep_them_apart():
    """Each names its own run, and counts its own slots."""
    told = [overdue(n, f"{n} slots since 2026-03-02 12:0{n}", next_step=f"crons history job{n}") for n in range(3)]

    assert [len(each.problems) for each in fold(told)] == [3]


def test_two_or_what_is_of_no_entry_stay_apart():
    """Two are read faster with the buttons of each; of hosts and databases each is another matter."""
    hosts = [Problem("host", f"web{n} is silent") for n in range(4)]

    found = fold([overdue(1), overdue(2), *hosts, overdue(3, "is parked")])

    assert all(each.is_one for each in found)
    assert len(found) == 7
