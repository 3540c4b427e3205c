"""Rows of CRONJOBS: each keeps the history of its line, whatever is written before or behind it."""

import pytest

from crons import ledger
from crons.contrib.django_crontab.lines import marked_name, read_line
from crons.declarations.retiring import Retire
from crons.declarations.sync import sync
from crons.ledger.entries import key_of
from crons.models import AuditEvent, Entry, Run

pytestmark = pytest.mark.usefixtures("empty_registry", "transactional_db")
HERE = "tests.crons.cronjobs"
MORNING, NOON, NIGHT = "0 7 * * *", "30 12 * * *", "0 23 * * *"


@pytest.fixture
def write(settings):
    """Sync CRONJOBS with lines of these times that call one function; return the rows' ids by what they say."""

    def writing(*times, args=()):
        settings.CRON_CLASSES = []
        settings.CRONJOBS = [(text, f"{HERE}.load", list(args)) for text in times]
        writing.done = sync(ledger.database_now(), retire=Retire.ALL)
        return {each.schedule: each.pk for each in Entry.objects.filter(source="cronjobs", retired_at=None)}

    return writing


def marked(text):
    return marked_name(read_line(0, (text, f"{HERE}.load")), text)


def named(pk):
    return Entry.objects.get(pk=pk).name


def test_line_that_is_left_keeps_its_row(write):
    """Before: the 12:30 line got the history of the 07:00 line that was deleted."""
    before = write(MORNING, NOON)

    after = write(NOON)

    assert after == {NOON: before[NOON]}
    assert (named(before[NOON]), named(before[MORNING])) == (f"{HERE}.load", marked(MORNING))
    assert (write.done.renamed, write.done.retired) == ([f"{HERE}.load"], [marked(MORNING)])
    event = AuditEvent.objects.get(verb="rename")
    assert (event.before, event.after) == ({"name": marked(NOON)}, {"name": f"{HERE}.load"})


def test_history_of_a_line_follows_its_name(write):
    """Its runs are found under the new name, and one that is not over has the key that it was recorded with."""
    write(MORNING, NOON)
    run = ledger.request(marked(NOON), ledger.database_now(), "api", by="ann")
    key = key_of(run)

    write(NOON)

    run = Run.objects.get(entry__name=f"{HERE}.load")
    assert key.startswith(marked(NOON))
    assert key_of(run) == key


def test_line_that_comes_leaves_the_others_their_rows(write):
    """In front of them, too."""
    before = write(NOON)

    after = write(MORNING, NOON)

    assert after[NOON] == before[NOON]
    assert (named(after[MORNING]), named(after[NOON])) == (marked(MORNING), marked(NOON))
    assert write.done.created == [marked(MORNING)]


def test_other_order_of_lines_changes_nothing(write):
    """The rows say where their lines stand, and nothing else."""
    before = write(MORNING, NOON, NIGHT)

    assert write(NIGHT, MORNING, NOON) == before
    assert (write.done.renamed, write.done.created, write.done.retired) == ([], [], [])


def test_one_line_of_several_may_change_its_time(write):
    """One row and one line are left over: they belong together."""
    before = write(MORNING, NOON)

    after = write(NIGHT, NOON)

    assert after == {NIGHT: before[MORNING], NOON: before[NOON]}


def test_several_lines_that_all_change_their_times_are_new(write):
    """Which of them was which, nobody can tell."""
    before = write(MORNING, NOON)

    after = write("5 7 * * *", "35 12 * * *")

    assert not set(before.values()) & set(after.values())
    assert sorted(write.done.retired) == sorted([marked(MORNING), marked(NOON)])


@pytest.mark.parametrize("left", [(MORNING, NOON), (NOON,), (MORNING,), (NOON, MORNING, NIGHT)])
def test_rows_of_the_former_names_are_carried_over(write, left):
    """There, the first of two lines was called by the path alone."""
    before = write(MORNING, NOON)
    Entry.objects.filter(pk=before[MORNING]).update(name=f"{HERE}.load", job=f"{HERE}.load")

    after = write(*left)

    assert {text: after[text] for text in left if text in before} == {
        text: before[text] for text in left if text in before
    }
    assert len(after) == len(left)


def test_former_name_of_a_command_is_carried_over(settings, write):
    """Before, that was django.core.management.call_command with a mark."""
    settings.CRONJOBS = [(MORNING, "django.core.management.call_command", ["clearsessions"])]
    sync(ledger.database_now(), retire=Retire.ALL)
    Entry.objects.filter(source="cronjobs").update(name="django.core.management.call_command:8acc80")
    before = Entry.objects.get(source="cronjobs").pk

    sync(ledger.database_now(), retire=Retire.ALL)

    assert named(before) == "call_command:clearsessions"


def test_time_that_a_person_set_is_not_taken_for_the_lines(write):
    """The line is found by what was declared."""
    before = write(MORNING, NOON)
    Entry.objects.filter(pk=before[MORNING]).update(
        schedule=NOON, overrides={"schedule": NOON, "zone": "UTC", "declared": MORNING, "declared_zone": "UTC"}
    )

    write(MORNING)

    assert named(before[MORNING]) == f"{HERE}.load"


def test_line_that_returns_finds_its_row(write):
    """Retired rows keep their names."""
    before = write(MORNING, NOON)
    write(NOON)

    assert write(MORNING, NOON) == before


def test_retired_row_that_has_the_name_steps_aside(write):
    """Its history is no other line's."""
    before = write(MORNING)
    write()
    assert named(before[MORNING]) == f"{HERE}.load"
    both = write(NOON, NIGHT)

    after = write(NOON)

    assert after == {NOON: both[NOON]}
    assert (named(both[NOON]), named(before[MORNING])) == (f"{HERE}.load", marked(MORNING))
