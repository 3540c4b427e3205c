"""A row that somebody has garbled: it is parked alone, whatever stands in it, and everybody else goes on."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.urls import reverse

from crons import api, ledger
from crons.declarations.entries import reschedule
from crons.jobs import job
from crons.models import Entry, Range, Run
from crons.schedules import cron
from tests.crons.cli.conftest import call_crons
from tests.crons.conftest import NOON, minutes

pytestmark = pytest.mark.django_db

LIST, PAGE = "admin:crons_entry_changelist", "admin:crons_entry_change"
DEEP = "[" * 900 + "]" * 900
NO_OBJECT = ["[1, 2]", "[]", "null", "5", "true", '"text"', '""', "1.5e300", json.dumps("x" * 100_000), DEEP]
SOME = ['{"a": [1]}', "5", '"text"', DEEP]
POLICIES = [
    {"catch_up": 5},
    {"catch_up": []},
    {"overlap": {}},
    {"deadline": "soon"},
    {"deadline": [1]},
    {"deadline": 1e300},
    {"deadline": -1},
    {"timeout": {"a": 1}},
    {"expected": "long"},
    {"max_silence": 1e300},
    {"max_idle": []},
    {"tell_after": "third"},
    {"unsteady": 5},
    {"window": "22"},
    {"window": ["22:00", "22:00"]},
    {"unsteady": [5, "x"]},
    {"cap": 1e9},
    {"cap": "many"},
    {"retry": 3},
    {"retry": [1, 2]},
    {"retry": [1, "x", [], {}]},
    {"retry": {"times": 1}},
    {"idempotent": "yes"},
    {"executor": ["process"]},
    {"executor": None},
    {"group": []},
    {"group": {"a": 1}},
    {"route": 5},
    {"route": {"queue": []}},
]
GARBLED = [
    *((column, text) for column in ("args", "policy", "overrides") for text in NO_OBJECT),
    *((column, json.dumps(each)) for column in ("policy", "overrides") for each in POLICIES),
    *(
        ("schedule", text)
        for text in ("", " ", "\x1b[2J", "* * * *", "every", "every 1e9s", "@" * 255, "9" * 255, "é", "*/0 * * * *")
    ),
    *(("zone", text) for text in ("", " ", ".", "..", "../../etc/passwd", "/etc/passwd", "UTC/", "\u202e", "x" * 64)),
]


def garble(entry, column, text):
    """Write *text* as it stands into the row's *column*, past everything that checks."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE crons_entry SET {column} = %s WHERE id = %s", [text, entry.pk])


@pytest.fixture
def garbled_rows(make_entry):
    """An entry for each way to garble a row, and one that is well, last in line."""
    made = {f"bad{place:03}": (make_entry(f"bad{place:03}"), *each) for place, each in enumerate(GARBLED)}
    make_entry("good")
    return made


def test_garbled_rows_stop_only_themselves(led, garbled_rows):
    """Rule 12: `args='[1,2]'` of one entry stopped all with a TypeError."""
    for row in garbled_rows.values():
        garble(*row)

    done = led.record(NOON + minutes(5))
    begun = led.begin(NOON + minutes(5))

    # Without a schedule an entry has no slots: that is no error.
    unplanned = {name for name, (_, column, text) in garbled_rows.items() if column == "schedule" and not text.strip()}
    assert [*done.runs] == [("good", NOON + minutes(5))]
    assert set(done.parked) == set(garbled_rows) - unplanned
    assert [each.entry for each in begun] == ["good"]
    reasons = dict(Entry.objects.values_list("name", "parked_reason"))
    assert {name for name, reason in reasons.items() if reason} == set(done.parked)
    assert max(map(len, reasons.values())) <= 1_000
    assert [
        reason for reason in reasons.values() if reason.startswith(("TypeError", "KeyError", "AttributeError"))
    ] == []


def test_rows_that_are_garbled_after_their_slot_was_recorded_stop_only_themselves(led, garbled_rows):
    """Their runs wait until the rows are mended; what says when is not needed to begin."""
    led.record(NOON + minutes(5))
    for row in garbled_rows.values():
        garble(*row)

    begun = led.begin(NOON + minutes(5), room=len(garbled_rows) + 1)

    well = {name for name, (_, column, _) in garbled_rows.items() if column in ("schedule", "zone")}
    assert {each.entry for each in begun} == {"good", *well}
    assert Run.objects.count() == len(garbled_rows) + 1


def test_a_run_with_garbled_arguments_fails_alone(led, make_entry):
    """Nobody knows what it was to be called with."""
    bad, good = make_entry("bad"), make_entry("good")
    led.record(NOON + minutes(5))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE crons_run SET args = '[1]' WHERE entry_id = %s", [bad.pk])

    begun = led.begin(NOON + minutes(5))

    assert [each.entry for each in begun] == [good.name]
    run = Run.objects.get(entry=bad)
    assert (run.state, run.verdict) == ("done", "failed")
    assert run.detail == "its column args holds '[1]', expected an object in JSON"


def test_what_is_said_of_a_garbled_row_shows_no_secrets(led, make_entry):
    """It stands on pages and in mails; half of a token is cut off with its closing quote."""
    text = json.dumps([{"region": "eu", "api_token": "tk-0123456789", "a_longer_filler": "x" * 80}])
    garble(make_entry("bad"), "args", text)

    led.record(NOON + minutes(5))

    reason = Entry.objects.get().parked_reason
    assert "tk-0" not in reason
    assert reason.startswith('its column args holds \'[{"region": "eu", "api_token": "********"')


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (column, text)
        for column in ("args", "policy", "overrides", "tags")
        for text in ('{"a": [1]}', "5", '"text"', DEEP)
    ],
    ids=lambda value: value[:30],
)
def test_garbled_rows_are_shown_wherever_somebody_looks(make_entry, admin_client, column, text):
    """What is wrong has to be seen; a page that fails over it hides everything else."""
    entry = make_entry("bad")
    make_entry("good")
    garble(entry, column, text)
    ledger.record(NOON + minutes(5), "tick")

    said = [call_crons(*words) for words in (["list"], ["list", "--json"], ["next"], ["history", "bad"], ["health"])]
    pages = [admin_client.get(reverse(page, args=args)) for page, args in ((LIST, []), (PAGE, [entry.pk]))]

    assert [each.err for each in said if "Traceback" in each.err] == []
    assert [each.code for each in said[:4]] == [0, 0, 0, 0]
    assert [page.status_code for page in pages] == [200, 200]


@pytest.mark.parametrize("text", ["[1, 2]", "null", '"text"'])
def test_saving_a_garbled_row_keeps_what_was_found(make_entry, text):
    """Who changes another column must not destroy what has to be looked into."""
    entry = make_entry("bad")
    garble(entry, "args", text)

    row = Entry.objects.get()
    row.owner = "dana"
    row.save()

    with connection.cursor() as cursor:
        cursor.execute("SELECT args FROM crons_entry")
        assert json.loads(cursor.fetchone()[0]) == json.loads(text)
    assert api.entry("bad").args == {}


@pytest.mark.parametrize("text", ["null", "true", '"text"', "[1, 2]"])
def test_what_was_found_is_shown_as_it_stands_in_the_row(led, make_entry, text):
    """Nobody who looks for 'None' finds it in a column that holds null."""
    garble(make_entry("bad"), "args", text)

    led.record(NOON + minutes(5))

    assert Entry.objects.get().parked_reason == f"its column args holds {text!r}, expected an object in JSON"


def test_a_garbled_override_is_not_taken_for_a_schedule(make_entry):
    """`declared` is what an override gives back to: a number there became the schedule."""
    entry = make_entry("bad")
    garble(entry, "overrides", '{"declared": 5, "declared_zone": []}')

    reschedule("bad", NOON + minutes(1), text=None, zone="", by="dana")

    row = Entry.objects.get()
    assert (row.schedule, row.zone) == ("*/5 * * * *", "UTC")
    assert Range.objects.count() == 0


def spoil(table, column, text, pk):
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [text, pk])


@pytest.mark.sqlite  # PostgreSQL takes nothing for a moment that is none
@pytest.mark.parametrize("text", ["30.11.2026", "01.12.2026", "soon", "", "0"])
def test_an_account_that_is_no_moment_stops_only_its_entry(led, make_entry, text):
    """A date written by hand as people write dates; the next look must find everybody else's slots."""
    bad = make_entry("bad")
    make_entry("good")
    spoil("crons_entry", "accounted_until", text, bad.pk)

    done = led.record(NOON + minutes(5))

    assert ([*done.runs], done.parked) == ([("good", NOON + minutes(5))], ["bad"])
    parked = Entry.objects.values_list("parked_reason", flat=True).get(pk=bad.pk)
    assert parked == "its column accounted_until holds no moment, such as 2026-11-30 09:00:00"
    assert "cannot be planned" in "".join(each.text for each in api.health() if each.entry == "bad")
    assert [call_crons(verb).err for verb in ("list", "next")] == ["", ""]


@pytest.mark.sqlite
@pytest.mark.parametrize("column", ["wake_at", "planned_at", "slot_at"])
@pytest.mark.parametrize("text", ["30.11.2026", "01.12.2026", "soon", "0"])
def test_a_run_with_a_moment_that_is_none_stops_only_its_entry(led, make_entry, column, text):
    """Its own fate is open; nobody else's may hang on it."""
    bad, _ = make_entry("bad"), make_entry("good")
    led.record(NOON + minutes(5))
    spoil("crons_run", column, text, Run.objects.get(entry=bad).pk)

    begun = led.begin(NOON + minutes(5))
    done = led.record(NOON + minutes(10))

    assert "good" in {each.entry for each in begun}
    assert ("good", NOON + minutes(10)) in done.runs
    assert ledger.agenda(NOON + minutes(5)).now == NOON + minutes(5)


@pytest.mark.sqlite
def test_a_sync_names_an_account_that_is_no_moment_and_goes_on(led, empty_registry):
    """What `health` says to do once the row is mended must not fail before."""
    for name in ("bad", "good"):
        job(cron("*/5 * * * *"), name=name)(lambda: None)
    api.sync()
    spoil("crons_entry", "accounted_until", "30.11.2026", Entry.objects.get(name="bad").pk)
    Entry.objects.filter(name="bad").update(wake_at=NOON)
    led.record(NOON + minutes(5))
    job(cron("@daily"), name="new")(lambda: None)

    synced = api.sync()

    assert synced.created == ["new"]
    said = "its column accounted_until holds no moment, such as 2026-11-30 09:00:00"
    assert [each for each in synced.problems if "accounted_until" in each] == [f"bad: {said}"]
