"""The verbs of operators: filling holes, running with other arguments, cancelling, following."""

import json
import sys
from contextlib import suppress
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.db import OperationalError

from crons import api, job
from crons.hosts.instances import Instance
from crons.jobs.policies import Policy
from crons.management.output import Out
from crons.management.verbs import log
from crons.management.verbs.base import argument
from crons.models import Attempt, AuditEvent, OutputChunk, Range, Run
from tests.crons.cli.conftest import NOW, Terminal, refuse

pytestmark = pytest.mark.django_db


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


# backfill


@pytest.fixture
def hole(clock, make_entry):
    """Three half hours that nobody looked at."""
    entry = make_entry()
    Range.objects.create(
        entry=entry,
        first_at=NOW - timedelta(minutes=75),
        last_at=NOW - timedelta(minutes=15),
        count=3,
        verdict="missed",
        reason="catch_up",
        trigger="crontab",
        recorded_at=NOW,
    )
    return entry


def test_backfill_shows_the_slots_before_it_does_anything(crons, hole):
    """In the entry's zone, with the offset that tells both hours of this night apart."""
    said = crons("backfill", "report", "--since", "2026-10-24T23:00Z", "--dry-run")

    assert said.out.splitlines() == [
        "2026-10-25 01:00:00 +02:00",
        "2026-10-25 01:30:00 +02:00",
        "2026-10-25 02:00:00 +02:00",
        "3 slots of report in this span have no success.",
    ]
    assert (Run.objects.count(), AuditEvent.objects.count()) == (0, 0)


def test_backfill_needs_a_yes(crons, hole):
    """Nobody is here to ask: the line that needs nobody is told."""
    said = crons("backfill", "report", "--since", "2026-10-24T23:00Z")

    assert (said.code, said.err) == (
        1,
        "this needs a yes, and nobody is here to ask: manage.py crons backfill report … --yes\n",
    )
    assert Run.objects.count() == 0


@pytest.mark.parametrize(("answer", "made"), [("y\n", 3), ("\n", 0)])
def test_backfill_at_a_terminal_asks(hole, monkeypatch, paint, answer, made):
    """A span that is too long is seen in the question."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    with suppress(CommandError):
        call_command("crons", "backfill", "report", "--since", "2026-10-24T23:00Z", stdout=paint, stderr=paint)

    assert (
        "Run 3 slots of report, from 2026-10-25 01:00:00 +02:00 to 2026-10-25 02:00:00 +02:00? [y/N] "
    ) in paint.getvalue()
    assert Run.objects.filter(kind="backfill").count() == made


def test_backfill_repeated_finds_nothing(crons, hole):
    """Whoever is not sure whether it was done does it again."""
    first = crons("backfill", "report", "--since", "2026-10-24T23:00Z", "--yes")
    second = crons("backfill", "report", "--since", "2026-10-24T23:00Z", "--yes")
    span = ("--since", "2026-10-24T22:30Z", "--until", "2026-10-24T23:00Z")
    as_json = crons("backfill", "report", *span, "--yes", "--json")

    assert first.out == "3 slots of report are run, oldest first. See: manage.py crons history report\n"
    assert second.out == "Every slot in this span has succeeded, or waits for its turn already.\n"
    assert objects(as_json.out) == [{"entry": "report", "at": "2026-10-24T22:30:00Z"}]
    assert (Run.objects.count(), Range.objects.count()) == (4, 0)


# run --arg


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("city=Paris", ("city", "Paris")),
        ("days=7", ("days", 7)),
        ("zip=01234", ("zip", "01234")),
        ("note=null", ("note", None)),
        ("x=NaN", ("x", "NaN")),
        ('ids=[1,"a"]', ("ids", [1, "a"])),
        ("q=a=b", ("q", "a=b")),
        ("empty=", ("empty", "")),
    ],
)
def test_an_argument_is_json_or_else_a_text(text, read):
    """So that nobody has to quote quotes."""
    assert argument(text) == read


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--arg", "city"), 1, "'city' is no argument, expected KEY=VALUE such as city=Paris or days=7"),
        (("--arg", "a-b=1"), 1, "'a-b=1' is no argument, expected KEY=VALUE"),
        (("--arg", "x=1", "--arg", "x=2"), 1, "--arg x=… is given twice."),
        (("--arg", "x=1", "--scheduled"), 1, "arguments are for manual runs: a slot runs with those that its entry"),
        (("--arg", "regoin=1"), 1, "'report' takes no argument 'regoin'. Did you mean 'region'? It takes: region."),
    ],
)
def test_arguments_are_checked_before_anything_is_recorded(crons, clock, make_entry, words, code, told):
    """Each says what was expected; no run is left behind."""
    job(None, name="report")(lambda region="": None)
    make_entry()

    said = crons("run", "report", *words)

    assert (said.code, Run.objects.count()) == (code, 0)
    assert told in said.err


def test_arguments_are_shown_in_the_history_and_beside_the_output(crons, clock, make_entry, make_run, make_attempt):
    """Whoever reads a strange output must see that the run was a strange one."""
    run = make_run(make_entry(), None, request_key="k", args={"city": "Paris", "days": 7})
    make_attempt(run)

    assert "manual (city=Paris, days=7)" in crons("history").out
    assert crons("log", str(run.pk)).err.splitlines()[0] == f"run {run.pk} was given city=Paris, days=7"


# cancel NAME


def test_cancel_of_an_entry_stops_all_that_goes_or_waits(crons, clock, make_entry, make_run, make_attempt):
    """Nobody has to look up numbers while something burns; what is over stays as it is."""
    entry = make_entry()
    done = make_run(entry, NOW - timedelta(hours=2))
    going = make_run(entry, NOW - timedelta(hours=1), state="running", verdict="", ended_at=None)
    attempt = make_attempt(going, outcome="", ended_at=None)
    due = make_run(entry, NOW, state="due", verdict="", ended_at=None)
    other = make_run(make_entry("other"), NOW, state="due", verdict="", ended_at=None)

    said = crons("cancel", "report", "--reason", "fire")

    assert said.out.splitlines() == [
        f"run {going.pk} of report was asked to stop. See: manage.py crons show {going.pk}",
        f"run {due.pk} of report is cancelled.",
    ]
    attempt.refresh_from_db()
    assert attempt.cancel_requested_at == NOW
    assert dict(Run.objects.values_list("pk", "verdict")) == {
        done.pk: "succeeded",
        going.pk: "",
        due.pk: "cancelled",
        other.pk: "",
    }
    event = AuditEvent.objects.get()
    assert (event.verb, event.subject, event.after) == ("cancel", "report", {"runs": [going.pk, due.pk]})
    again = crons("cancel", "other", "--reason", "x"), crons("cancel", "other", "--reason", "x")
    assert again[1].out == "no run of other goes or waits.\n"


def test_a_backfill_is_called_off_as_a_whole(crons, clock, hole, make_run):
    """The present goes on."""
    due = make_run(hole, NOW, state="due", verdict="", ended_at=None)
    crons("backfill", "report", "--since", "2026-10-24T23:00Z", "--yes")

    said = crons("cancel", "report", "--backfill", "--reason", "wrong month")

    assert len(said.out.splitlines()) == 3
    assert set(Run.objects.filter(kind="backfill").values_list("verdict", flat=True)) == {"cancelled"}
    due.refresh_from_db()
    assert due.state == "due"
    assert crons("cancel", "report", "--backfill", "--reason", "x").out == (
        "no run of report goes or waits that was asked for.\n"
    )
    assert crons("cancel", str(due.pk), "--backfill", "--reason", "x").err == (
        f"--backfill goes with an entry's name, and {due.pk} is a run's number.\n"
    )


def test_show_tells_what_people_did_to_a_run(crons, clock, make_entry, make_run, make_attempt):
    """A verdict that was taken back is not forgotten."""
    run = make_run(make_entry(), verdict="timed_out")
    make_attempt(run, outcome="timed_out")
    api.retry(run.pk, by="ann", reason="host is back")
    api.cancel(run.pk, by="bob", reason="no")

    lines = crons("show", str(run.pk)).out.splitlines()

    assert "  retry by ann at 2026-10-25 02:15:00 +02:00: host is back; it was timed out" in lines
    assert "  cancel by bob at 2026-10-25 02:15:00 +02:00: no" in lines
    [row] = objects(crons("show", str(run.pk), "--json").out)
    assert [(each["verb"], each["actor"]) for each in row["audit"]] == [("retry", "ann"), ("cancel", "bob")]


# log --follow


class Story:
    """Plays one step of a run's life at each pause of whoever follows it."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def __call__(self, seconds):
        self.steps.pop(0)()


@pytest.fixture
def follow():
    """Follow a run through a story; return what was printed, what was noted, and the exit code."""

    def follow(run, *steps, **options):
        out, err = OutputWrapper(StringIO()), OutputWrapper(StringIO())
        code = log.follow(run, Out(out, err), pause=Story(*steps), **options)
        return out._out.getvalue(), err._out.getvalue().splitlines(), code

    return follow


@pytest.fixture
def going(clock, make_entry, make_run, make_attempt):
    """A run with its first attempt going."""
    run = make_run(make_entry(), NOW, state="running", verdict="", ended_at=None)
    make_attempt(run, outcome="", ended_at=None)
    return run


def write(attempt, seq, text, stream="stdout"):
    OutputChunk.objects.create(attempt_id=attempt, seq=seq, stream=stream, text=text)


def end(run, verdict, **attempt):
    Attempt.objects.filter(pk=run.current_attempt).update(outcome=verdict, ended_at=NOW, **attempt)
    Run.objects.filter(pk=run.pk).update(state="done", verdict=verdict, ended_at=NOW, detail=attempt.get("error", ""))


def test_following_shows_what_comes_until_the_end(follow, going):
    """Also what was written between the last look and the end."""
    attempt = going.current_attempt

    def last_words():
        write(attempt, 1, "two\n")
        end(going, "succeeded", exit_code=0)

    out, notes, code = follow(going, lambda: write(attempt, 0, "one\n"), last_words)

    assert (out, notes, code) == ("one\ntwo\n", [f"run {going.pk} of report: succeeded"], 0)


@pytest.mark.parametrize(("exit_code", "code"), [(3, 3), (None, 1), (-9, 137)])
def test_following_ends_as_the_job_did(follow, going, exit_code, code):
    """A script that follows gets the job's own exit code."""
    out, notes, got = follow(going, lambda: end(going, "failed", exit_code=exit_code, error="boom"))

    assert (out, notes, got) == ("", [f"run {going.pk} of report: failed: boom"], code)


def test_following_says_that_what_ran_it_was_killed(follow, going):
    """Where nothing looks at the clock any more, whoever follows would wait for ever and not know for what."""
    killed = Instance.start("tick")
    killed.stop()
    attempt = Attempt.objects.filter(pk=going.current_attempt)
    attempt.update(instance=killed.name, boot_id=killed.boot_id, host="web1", pid=77, lease_until=NOW)

    def is_found():
        end(going, "lost", error="vanished")

    out, notes, code = follow(going, lambda: None, lambda: None, is_found)

    assert (out, code) == ("", 1)
    assert notes == [
        f"run {going.pk}: what ran it (pid 77 on web1) was killed. "
        "The next serve or tick that looks says what becomes of it.",
        f"run {going.pk} of report: lost: vanished",
    ]


def test_following_says_that_another_host_is_silent(follow, going):
    """Its kernel cannot be asked: the lease is all there is to go by."""
    attempt = Attempt.objects.filter(pk=going.current_attempt)
    attempt.update(boot_id="elsewhere", host="web2", pid=77, lease_until=NOW)

    def goes_silent():
        attempt.update(lease_until=NOW - timedelta(seconds=1))

    _, notes, _ = follow(going, goes_silent, lambda: end(going, "lost", error="vanished"))

    assert [note.partition(" (pid")[0] for note in notes] == [
        f"run {going.pk}: what ran it",
        f"run {going.pk} of report: lost: vanished",
    ]
    assert "(pid 77 on web2) has not been heard of since its lease ended at 2026-" in notes[0]


def test_following_goes_on_over_retries(follow, going, make_attempt):
    """The next try is the same run; what waits between is told once."""
    first = going.current_attempt

    def fails():
        write(first, 0, "first\n")
        Attempt.objects.filter(pk=first).update(outcome="failed", ended_at=NOW)
        later = NOW + timedelta(minutes=1)
        Run.objects.filter(pk=going.pk).update(state="waiting", wake_at=later, detail="try 1 failed: boom")

    def tries_again():
        going.refresh_from_db()
        attempt = make_attempt(going, outcome="", ended_at=None)
        Run.objects.filter(pk=going.pk).update(state="running", wake_at=None)
        write(attempt.pk, 0, "second\n")

    def ends():
        going.refresh_from_db()
        end(going, "succeeded")

    out, notes, code = follow(going, fails, lambda: None, tries_again, ends)

    assert (out, code) == ("first\nsecond\n", 0)
    assert notes == [
        f"run {going.pk}: try 1 failed: boom; again at 2026-10-25 02:16:00 +02:00.",
        f"run {going.pk} of report: succeeded",
    ]


def test_following_says_why_a_run_waits(follow, clock, make_entry, make_run, make_attempt):
    """Silence would look like a hang."""
    entry = make_entry()
    run = make_run(entry, NOW, state="due", verdict="", ended_at=None, wake_at=NOW)

    def begins():
        attempt = make_attempt(run, outcome="", ended_at=None)
        Run.objects.filter(pk=run.pk).update(state="running", wake_at=None)
        write(attempt.pk, 0, "at last\n")

    out, notes, code = follow(run, lambda: None, begins, lambda: end(run, "succeeded"))

    assert (out, code) == ("at last\n", 0)
    assert notes[0] == f"run {run.pk} waits: for a free place, or for a process that knows the job 'report'."
    assert len(notes) == 2


@pytest.mark.django_db(transaction=True)
def test_following_survives_a_database_that_is_away(follow, going, monkeypatch):
    """It is told once, and nothing is shown twice when it is back."""
    real = api.history

    def away():
        monkeypatch.setattr(api, "history", refuse(OperationalError("server closed the connection")))

    def back():
        monkeypatch.setattr(api, "history", real)

    out, notes, code = follow(
        going,
        lambda: write(going.current_attempt, 0, "one\n"),
        away,
        lambda: None,
        back,
        lambda: end(going, "succeeded"),
    )

    assert (out, code) == ("one\n", 0)
    assert notes == [
        "the database does not answer, trying again: server closed the connection",
        f"run {going.pk} of report: succeeded",
    ]


def test_ctrl_c_leaves_the_run_alone(follow, going):
    """Whoever looks has no part in it."""
    out, notes, code = follow(going, refuse(KeyboardInterrupt()))

    assert (out, notes, code) == ("", [f"run {going.pk} goes on. See: manage.py crons show {going.pk}"], 130)
    assert Attempt.objects.get().cancel_requested_at is None


def test_following_ends_with_a_run_that_somebody_deleted(follow, going):
    """It must not wait for ever for what is gone."""
    out, notes, code = follow(going, lambda: Run.objects.all().delete())

    assert (out, notes, code) == ("", [f"run {going.pk} does not exist any more."], 1)


def test_following_takes_the_run_that_goes(crons, going, make_run, monkeypatch):
    """By name: not one that waits, nor the last that ended."""
    make_run(going.entry, NOW + timedelta(minutes=30), state="due", verdict="", ended_at=None, wake_at=NOW)
    attempt = going.current_attempt
    write(attempt, 0, "out\n")
    write(attempt, 1, "err\n", "stderr")
    monkeypatch.setattr("crons.triggers.following.POLL_SECONDS", 0)
    looks = iter([lambda: None, lambda: end(going, "succeeded")])
    monkeypatch.setattr(api, "history", lambda *name, real=api.history: (next(looks, lambda: None)(), real(*name))[1])

    said = crons("log", "report", "--follow", "--stream", "stderr")

    assert (said.out, said.code) == ("err\n", 0)
    assert crons("log", "report", "--follow", "--attempt", "1").err == (
        "--follow shows every attempt as it comes, so it cannot be one --attempt only.\n"
    )


# groups


def test_whoever_wonders_why_a_run_waits_is_told(crons, clock, make_entry, make_run, make_attempt, settings):
    """A full group is said wherever somebody looks: list, show and health."""
    settings.CRONS = {"GROUPS": {"heavy": 1}}
    heavy = Policy(group="heavy").as_json()
    going = make_run(make_entry("bill", policy=heavy), NOW, state="running", verdict="", ended_at=None)
    make_attempt(going, outcome="", ended_at=None)
    since = NOW - timedelta(minutes=5)
    waiting = make_run(make_entry(policy=heavy), since, state="due", verdict="", ended_at=None, wake_at=since)

    assert "active: waits for the group 'heavy', which is full (1 going)" in crons("list").out
    assert "for the group 'heavy', which is full (1 going)" in crons("show", str(waiting.pk)).out
    assert (
        "waiting: report: a run waits for the group 'heavy', which is full (1 going); since 2026-10-25 00:10:00 UTC"
    ) in crons("health").out


@pytest.mark.parametrize(
    ("entry", "run", "told"),
    [
        (
            {"paused_at": NOW, "paused_by": "ann", "pause_reason": "moving"},
            {},
            "for the end of the pause by ann: moving",
        ),
        ({"paused_at": NOW}, {"asked_at": NOW}, "for a free place"),
        ({"paused_at": NOW, "paused_until": NOW}, {}, "for a free place"),
        ({}, {"wake_at": NOW + timedelta(minutes=1)}, ""),
    ],
)
def test_what_holds_a_run_is_named(clock, make_entry, make_run, entry, run, told):
    """The same rules as begin has."""
    waiting = make_run(make_entry(**entry), **{"state": "waiting", "verdict": "", "wake_at": NOW, **run})

    assert api.why_waiting([waiting]).get(waiting.pk, "").startswith(told)
    assert (waiting.pk in api.why_waiting([waiting])) == bool(told)
