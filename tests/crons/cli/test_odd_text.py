"""Text that no database takes: a terminal's odd bytes, a NUL, JSON without end. Refused in words, on both databases."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from crons import api, job
from crons.exceptions import Refused, UnknownJob

pytestmark = pytest.mark.django_db

ODD = ["\udcff\udced", "night\ud800ly", "a\0b"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(
    "words",
    [
        ("next",),
        ("history",),
        ("log",),
        ("run",),
        ("pause", "--reason", "x"),
        ("cancel", "--reason", "x"),
    ],
    ids=lambda words: words[0],
)
def test_a_name_that_no_database_takes_is_no_entrys(make_entry, words, name):
    """Each of these once ended in the driver's traceback."""
    make_entry("nightly")

    with pytest.raises((CommandError, SystemExit)) as refusal:
        call_command("crons", *words, name)

    assert "codec" not in str(refusal.value)
    assert "Traceback" not in str(refusal.value)


@pytest.mark.parametrize("name", ODD)
def test_the_api_says_that_there_is_no_such_entry(make_entry, name):
    make_entry("nightly")

    with pytest.raises(UnknownJob):
        api.entry(name)
    with pytest.raises(UnknownJob):
        api.run_now(name, by="dana")


def test_a_key_with_half_a_character_is_refused(make_entry):
    make_entry("nightly")

    with pytest.raises(Refused, match="has a NUL or half a character in it, which no database keeps"):
        api.run_now("nightly", key="a\ud800", by="dana")


def test_json_without_end_is_refused(make_entry, capsys):
    make_entry("nightly")

    with pytest.raises((CommandError, SystemExit)) as refusal:
        call_command("crons", "run", "nightly", "--arg", "days=" + "[" * 100_000)

    assert "'days' cannot be read: its JSON is nested too deeply" in f"{refusal.value} {capsys.readouterr().err}"


def test_json_that_is_nested_deeply_is_refused(empty_registry, make_entry):
    """Python reads a thousand levels; neither SQLite nor a page takes them."""

    @job(name="nightly")
    def nightly(days: object = 7) -> None:
        """Do nothing."""

    make_entry("nightly")

    with pytest.raises(CommandError, match="'days' has lists and dicts nested 100 levels deep or more"):
        call_command("crons", "run", "nightly", "--arg", "days=" + "[" * 500 + "]" * 500)


def test_a_number_without_end_is_no_run(capsys):
    with pytest.raises((CommandError, SystemExit)) as refusal:
        call_command("crons", "retry", "9" * 5_000)

    told = f"{refusal.value} {capsys.readouterr().err}"
    assert "is no run, expected its number" in told
    assert len(told) < 1_000
