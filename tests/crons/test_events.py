"""Logs as JSON: each record one line, whatever is in it, with the event and fields that the table promises."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from crons import ledger
from crons.attempts import Unstarted
from crons.events import EVENTS, JSONFormatter, stream
from crons.jobs.policies import Retry
from crons.models import Entry
from crons.side_output import get_log
from crons.verdicts import Outcome
from tests.crons.conftest import NOON, minutes


class Kept(logging.Handler):
    """The lines that were written."""

    def __init__(self):
        super().__init__()
        self.lines = []
        self.setFormatter(JSONFormatter())

    def emit(self, record):
        self.lines.append(self.format(record))


@pytest.fixture
def kept():
    """What the stream of events says to a project that asks for it."""
    handler, level = Kept(), stream.level
    stream.addHandler(handler)
    stream.setLevel(logging.DEBUG)
    yield handler.lines
    stream.setLevel(level)
    stream.removeHandler(handler)


@pytest.mark.django_db
def test_the_stream_tells_of_slots_attempts_and_runs(kept, make_entry, led, django_capture_on_commit_callbacks):
    """In the words of the table, each with its fields."""
    make_entry("nightly")
    with django_capture_on_commit_callbacks(execute=True):
        led.record(NOON + minutes(20))
        (begun,) = led.begin(NOON + minutes(20))
        led.finish(begun, NOON + minutes(21), Outcome.FAILED, "ValueError: s3cret")

    told = [json.loads(line) for line in kept]

    assert sorted(each["event"] for each in told) == [
        "attempt.finished",
        "run.ended",
        "slot.recorded",
        "slots.accounted",
    ]
    for each in told:
        assert set(EVENTS[each["event"]]) <= set(each), each
        assert "s3cret" not in str(each)
    ended = told[-1]
    assert (ended["entry"], ended["verdict"], ended["attempt"]) == ("nightly", "failed", begun.attempt)
    assert ended["slot"] == (NOON + minutes(20)).isoformat()


@pytest.mark.django_db
def test_each_attempt_is_told_of_also_one_that_is_tried_again(
    kept, make_entry, led, django_capture_on_commit_callbacks
):
    """Failures that a retry has healed are seen by nobody who hears of verdicts only; one told late is no second."""
    make_entry("nightly", retry=Retry(1, wait=minutes(1)))
    at = NOON + minutes(5)
    with django_capture_on_commit_callbacks(execute=True):
        led.record(at)
        (first,) = led.begin(at)
        led.finish(first, at, Outcome.FAILED, "ValueError: s3cret")
        (second,) = led.begin(at + minutes(1))
        led.finish(second, at + minutes(2))
        led.finish(first, at + minutes(2))

    told = [json.loads(line) for line in kept]
    finished = [each for each in told if each["event"] == "attempt.finished"]
    assert [(each["attempt"], each["number"], each["outcome"], each["again_at"]) for each in finished] == [
        (first.attempt, 1, "failed", (at + minutes(1)).isoformat()),
        (second.attempt, 2, "succeeded", None),
    ]
    assert [set(each) for each in finished] == [
        {"at", "level", "logger", "event", "text", *EVENTS["attempt.finished"]}
    ] * 2
    assert [each["event"] for each in told] == ["slot.recorded", "attempt.finished", "attempt.finished", "run.ended"]
    assert "s3cret" not in str(told)


@pytest.mark.django_db
def test_an_attempt_that_vanished_is_told_of(kept, make_entry, led, django_capture_on_commit_callbacks):
    """What nobody finished is found lost, by another process, or by the one that should run it."""
    make_entry("nightly")
    at = NOON + minutes(5)
    with django_capture_on_commit_callbacks(execute=True):
        led.record(at)
        (begun,) = led.begin(at)
        ledger.release_unstarted(led.instance.name, [], Unstarted(), at + minutes(1))

    told = [json.loads(line) for line in kept]
    assert [(each["event"], each["attempt"]) for each in told[1:]] == [
        ("attempt.finished", begun.attempt),
        ("run.ended", begun.attempt),
    ]
    assert told[1]["outcome"] == "lost"


@pytest.mark.django_db
def test_nobody_who_did_not_ask_hears_it(caplog, make_entry, led):
    """Cron mails what a line writes: INFO for the root must not make a mail of each run."""
    caplog.set_level(logging.INFO)
    make_entry()

    led.record(NOON + minutes(5))

    assert [each for each in caplog.records if each.name == "crons.events"] == []
    assert Entry.objects.exists()


def formatted(message="text", *args, level=logging.INFO, error=None, **extra):
    record = logging.LogRecord("crons", level, __file__, 1, message, args, error)
    vars(record).update(extra)
    line = JSONFormatter().format(record)
    assert "\n" not in line
    return json.loads(line)


def test_a_record_is_one_line_of_json():
    told = formatted("a %s\n%d", "b", 7, event="turn.failed", failures=3)

    assert list(told) == ["at", "level", "logger", "event", "text", "failures"]
    assert (told["level"], told["logger"], told["text"], told["failures"]) == ("INFO", "crons", "a b\n7", 3)
    assert told["at"].endswith("+00:00")


def test_whatever_a_record_holds_is_written():
    """A log that raises is a log that is missing: odd keys, values that hold themselves, control characters."""
    loop = []
    loop.append(loop)

    assert formatted(entry="\x1b[2J\u202e\ud800\0")["entry"] == "\x1b[2J\u202e\ud800\0"
    assert formatted(about={(1, 2): "x"})["about"] == repr({(1, 2): "x"})
    assert "[[...]]" in formatted(about=loop)["about"]
    assert formatted(at="noon", text="other", level="none")["text"] == "text"
    assert formatted(value=NOON)["value"] == str(NOON)


def test_a_traceback_is_in_the_line():
    try:
        raise LookupError("gone")
    except LookupError:
        told = formatted("failed", error=sys.exc_info())

    assert told["traceback"].endswith("LookupError: gone")


def test_settings_can_name_it_before_there_are_apps(tmp_path):
    """Django sets up logging first: a formatter that imported a model would keep every command from starting."""
    code = (
        "from django.conf import settings\n"
        "settings.configure(SECRET_KEY='-', USE_TZ=True, INSTALLED_APPS=['django.contrib.contenttypes', 'crons'], "
        "DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}, LOGGING={'version': 1, "
        "'formatters': {'json': {'()': 'crons.events.JSONFormatter'}}, 'handlers': {'out': {'class': "
        "'logging.StreamHandler', 'formatter': 'json'}}, 'root': {'handlers': ['out'], 'level': 'INFO'}})\n"
        "import django; django.setup()\n"
        "from crons.side_output import get_log\n"
        "get_log('crons').warning('hello', extra={'event': 'entry.parked', 'entry': 'x'})\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    told = json.loads(done.stderr)
    assert (told["event"], told["text"], told["entry"]) == ("entry.parked", "hello", "x")
    assert get_log("crons").name == "crons"
