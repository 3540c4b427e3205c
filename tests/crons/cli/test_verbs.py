"""The command line: what each verb prints, and how it exits."""

import json
import re
import sys
from contextlib import nullcontext
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from crons import api, jobs
from crons.exceptions import LedgerUnavailable
from crons.jobs import Policy
from crons.ledger import deployment
from crons.models import AuditEvent, Deployment, Entry, Heartbeat, Incident, OutputChunk, Range, Run
from crons.presentation import describe_schedule
from crons.schedules import FAR_FUTURE, every
from tests.crons.cli.conftest import NOW, Terminal, refuse

MINUTE = timedelta(minutes=1)
pytestmark = pytest.mark.django_db


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


# list


def test_list_shows_schedule_next_slot_last_verdict_and_state(crons, clock, make_entry, make_run, make_attempt):
    """One line answers: when, what became of it, and does anything hold it?"""
    entry = make_entry()
    make_attempt(make_run(entry, NOW - 15 * MINUTE))
    make_entry("paused", paused_at=NOW, paused_until=NOW + 75 * MINUTE, paused_by="ann", pause_reason="moving")
    make_entry("parked", parked_reason="no such zone", wake_at=FAR_FUTURE)
    make_entry("gone", retired_at=NOW, wake_at=FAR_FUTURE)

    lines = crons("list").out.splitlines()

    schedule = describe_schedule(entry)
    rows = [re.split(r" {2,}", line) for line in lines]
    assert rows == [
        ["name", "schedule", "next slot", "last verdict", "state"],
        ["parked", schedule, "none", "none yet", "parked: no such zone"],
        [
            "paused",
            schedule,
            "2026-10-25 02:30:00 +02:00 (in 15 min)",
            "none yet",
            "paused until 2026-10-25 02:30:00 +01:00 by ann: moving",
        ],
        [
            "report",
            schedule,
            "2026-10-25 02:30:00 +02:00 (in 15 min)",
            "succeeded, 15 min ago, took 1 min 30 s",
            "active",
        ],
    ]


def test_list_shows_what_may_run_for_ever(crons, clock, make_entry):
    """What others declared before keeps having no timeout; whoever reads the list sees which those are."""
    make_entry("endless", policy={"timeout": None})
    make_entry("bounded", policy={"timeout": 60})

    states = [re.split(r" {2,}", line)[-1] for line in crons("list").out.splitlines()]

    assert states == ["state", "active", "active, no timeout"]


def test_list_all_shows_retired_entries(crons, clock, make_entry):
    """Their history stays, so there must be a way to its name."""
    make_entry("gone", retired_at=NOW, wake_at=FAR_FUTURE)

    assert "gone" not in crons("list").out
    assert "retired 2026-10-25 02:15:00 +02:00" in crons("list", "--all").out


def test_list_takes_the_newer_of_run_and_range_for_the_last_verdict(crons, clock, make_entry, make_run):
    """Slots that were written off after the last run are news."""
    entry = make_entry()
    make_run(entry, NOW - 60 * MINUTE)
    make_range(entry)

    assert "missed (catch up), 15 min ago" in crons("list").out


def test_list_json_has_the_fields_of_the_model(crons, clock, make_entry, make_run, make_attempt):
    """Programs get names that the documentation of the models explains."""
    run = make_run(make_entry(), NOW - 15 * MINUTE)
    make_attempt(run)

    (row,) = objects(crons("list", "--json").out)

    assert {field.name for field in Entry._meta.concrete_fields} <= set(row)
    assert row["name"] == "report"
    assert row["wake_at"] == row["next_at"] == "2026-10-25T00:30:00Z"
    assert row["last"] == {
        "model": "run",
        "id": run.pk,
        "verdict": "succeeded",
        "reason": "",
        "at": "2026-10-25T00:00:00Z",
        "took_seconds": 90.0,
    }


def test_list_costs_five_queries_for_any_number_of_entries(
    clock, make_entry, make_run, make_attempt, django_assert_num_queries
):
    """A hundred entries must not be three hundred queries."""
    for number in range(5):
        entry = make_entry(f"e{number}")
        make_attempt(make_run(entry, NOW))
        make_range(entry)

    with django_assert_num_queries(5):
        call_command("crons", "list", stdout=StringIO())


def test_list_of_nothing_says_what_to_do(crons):
    """An empty table would look like a fault."""
    assert crons("list").out == "There are no entries. Declare a job, then: manage.py crons sync\n"
    assert crons("list", "--json").out == ""


# next


def test_next_lists_slots_of_all_entries_soonest_first(crons, clock, make_entry):
    """One timeline, in each entry's zone."""
    make_entry()
    make_entry("other", schedule="every 3600s", zone="UTC", wake_at=NOW + 45 * MINUTE)

    lines = crons("next", "--count", "3").out.splitlines()

    assert [re.split(r" {2,}", line) for line in lines] == [
        ["slot", "when", "entry"],
        ["2026-10-25 02:30:00 +02:00", "in 15 min", "report"],
        ["2026-10-25 01:00:00 +00:00", "in 45 min", "other"],
        ["2026-10-25 02:00:00 +01:00", "in 45 min", "report"],
    ]


def test_next_says_which_slots_a_pause_will_skip(crons, clock, make_entry):
    """A pause may end before the slot."""
    make_entry(paused_at=NOW, paused_until=NOW + 20 * MINUTE)

    first, second = objects(crons("next", "report", "--count", "2", "--json").out)

    assert first == {
        "at": "2026-10-25T00:30:00Z",
        "entry": "report",
        "zone": "Europe/Berlin",
        "paused": True,
        "opens_at": None,
    }
    assert second["paused"] is False
    assert "paused: will be skipped" in crons("next", "report").out.splitlines()[1]


def test_next_says_when_a_slot_outside_of_its_window_begins(crons, clock, make_entry):
    """A slot at half past two that waits for four is no surprise then."""
    make_entry(policy={"window": ["04:00", "05:00"]})

    first, _ = objects(crons("next", "report", "--count", "2", "--json").out)

    assert (first["at"], first["opens_at"]) == ("2026-10-25T00:30:00Z", "2026-10-25T03:00:00Z")
    line = crons("next", "report").out.splitlines()[1]
    assert line.endswith("begins when its window opens: 2026-10-25 04:00:00 +01:00")


def test_next_of_a_retired_entry_is_empty(crons, clock, make_entry):
    """Nobody declares it any more, so nothing comes."""
    make_entry("gone", retired_at=NOW, wake_at=FAR_FUTURE)

    assert crons("next", "gone").out == "Nothing is due any more. See: manage.py crons list --all\n"


def test_next_reckons_no_slots_without_end(crons):
    """Three zeros too many took the memory of the machine that the jobs run on."""
    assert (
        crons("next", "--count", "10001").err
        == "Error: argument --count: '10001' is too many, expected at most 10000\n"
    )


# history


def make_range(entry, **fields):
    row = {
        "first_at": NOW - 90 * MINUTE,
        "last_at": NOW - 15 * MINUTE,
        "count": 3,
        "verdict": "missed",
        "reason": "catch_up",
        "trigger": "crontab",
        "recorded_at": NOW,
    }
    return Range.objects.create(entry=entry, **{**row, **fields})


def test_history_merges_runs_and_ranges_by_time(crons, clock, make_entry, make_run, make_attempt):
    """The slots that did not run belong between those that did."""
    entry = make_entry()
    old = make_run(entry, NOW - 120 * MINUTE, verdict="failed", detail="ValueError: no")
    make_attempt(old, outcome="failed")
    make_range(entry)
    new = make_run(entry, None, requested_by="ann")
    make_attempt(new, outcome="", ended_at=None, begun_at=NOW - MINUTE)
    Run.objects.filter(pk=new.pk).update(state="running", verdict="")

    lines = crons("history").out.splitlines()

    assert [re.split(r" {2,}", line.strip()) for line in lines] == [
        ["run", "slot", "entry", "verdict", "tries", "took", "trigger", "host"],
        [
            str(new.pk),
            "2026-10-25 02:15:00 +02:00 manual",
            "report",
            "running",
            "1",
            "1 min so far",
            "serve",
            "web1",
        ],
        [
            "2026-10-25 02:00:00 +02:00",
            "report",
            "missed (catch up): 3 slots since 2026-10-25 00:45:00 +02:00",
            "crontab",
        ],
        [
            str(old.pk),
            "2026-10-25 00:15:00 +02:00",
            "report",
            "failed: ValueError: no",
            "1",
            "1 min 30 s",
            "serve",
            "web1",
        ],
    ]


def test_history_json_tells_runs_from_ranges(crons, make_entry, make_run, make_attempt):
    """Keys are the models' fields, the entry's name instead of its id."""
    entry = make_entry()
    make_range(entry)
    run = make_run(entry)
    make_attempt(run)

    first, second = objects(crons("history", "--json").out)

    assert {field.name for field in Run._meta.concrete_fields} <= set(first)
    assert (first["model"], first["entry"], first["attempts"]) == ("run", "report", 1)
    assert (first["slot_at"], first["took_seconds"], first["host"]) == ("2026-10-25T00:15:00Z", 90.0, "web1")
    assert {field.name for field in Range._meta.concrete_fields} <= set(second)
    assert (second["model"], second["entry"], second["count"]) == ("range", "report", 3)


def test_history_keeps_to_name_verdict_since_and_count(crons, make_entry, make_run):
    """Each answers one question: of what, how, since when, how much."""
    entry, other = make_entry(), make_entry("other")
    early = make_run(entry, NOW - 60 * MINUTE, verdict="failed")
    late = make_run(entry, NOW)
    make_run(other, NOW, verdict="failed")
    make_range(entry)

    def ids(*words):
        return [(row["model"], row["id"]) for row in objects(crons("history", "report", "--json", *words).out)]

    assert ids("--verdict", "failed") == [("run", early.pk)]
    # Without an offset the moment is local; NOW is 02:15 in Berlin and 00:15 in UTC.
    assert ids("--since", "2026-10-25T00:15:00+00:00") == [("run", late.pk)]
    assert ids("--count", "1") == [("run", late.pk)]


def test_history_until_leaves_out_what_came_later(crons, make_entry, make_run):
    """The moment itself, too; a range that had begun before is in it."""
    entry = make_entry()
    slots = [NOW - timedelta(hours=hours) for hours in (3, 2, 1)]
    for slot_at in slots:
        make_run(entry, slot_at=slot_at)
    Range.objects.create(
        entry=entry, first_at=slots[0], last_at=slots[2], count=3, verdict="missed", reason="catch_up",
        trigger="serve", recorded_at=NOW,
    )  # fmt: skip

    rows = objects(crons("history", "--until", slots[1].isoformat(), "--json").out)

    assert [row["model"] for row in rows] == ["range", "run"]


def test_history_refuses_a_moment_that_is_none(crons):
    """A wrong date must not show everything."""
    said = crons("history", "--since", "yesterday")

    assert said.err == (
        "Error: argument --since: 'yesterday' is no moment, expected one such as 2026-10-25T02:30+01:00\n"
    )


def test_history_of_nothing_says_so(crons):
    """Nothing printed would look like a hang-up."""
    assert crons("history").out == "No slot is recorded that fits.\n"


# show


def test_show_by_name_is_the_newest_run_of_it(crons, make_entry, make_run):
    """Whatever became of it: a skipped slot, too."""
    entry = make_entry()
    make_run(entry, slot_at=NOW - timedelta(hours=1))
    newest = make_run(entry, slot_at=NOW, verdict="skipped", reason="overlap")
    make_run(make_entry("other"), slot_at=NOW + timedelta(hours=1))

    assert crons("show", "report").out.splitlines()[0] == f"run {newest.pk} of report"


def test_show_and_log_say_what_they_cannot_find(crons, make_entry):
    make_entry()

    assert crons("show", "report").err == "'report' has no run yet. See: manage.py crons history report\n"
    assert crons("show", "reprot").err == "'reprot' is not declared. Did you mean 'report'? See: manage.py crons list\n"
    for verb in ("show", "log"):
        assert "is no run, expected its number" in crons(verb, "9" * 30).err


def test_a_run_to_retry_is_named_by_its_number(crons):
    """'abc' is no count, which nobody had asked for, told nobody what to give."""
    said = crons("retry", "abc")

    assert said.err == (
        "Error: argument RUN_ID: 'abc' is no run, expected its number: manage.py crons history shows it\n"
    )


def test_show_tells_all_of_a_run(crons, clock, make_entry, make_run, make_attempt):
    """What a person asks after a failure: when, where, how long, what it said."""
    run = make_run(make_entry(owner="ops"), verdict="failed", detail="ValueError: no")
    make_attempt(
        run,
        outcome="failed",
        exit_code=1,
        cpu_seconds=0.5,
        peak_memory_bytes=45_000_000,
        error="Traceback\n  File x\nValueError: no\n",
        late_outcome="succeeded",
    )

    out = crons("show", str(run.pk)).out

    assert out == (
        f"run {run.pk} of report\n"
        "  slot      2026-10-25 02:15:00 +02:00 (Europe/Berlin)\n"
        "  verdict   failed: ValueError: no\n"
        "  meaning   The job raised, or its program exited with a code other than 0, on its last try.\n"
        "  recorded  2026-10-25 02:15:00 +02:00 by serve\n"
        "  ended     2026-10-25 02:15:00 +02:00\n"
        "  owner     ops\n"
        "\n"
        f"attempt 1 (id {run.current_attempt})\n"
        "  outcome       failed\n"
        "  late outcome  succeeded (reported after it had ended: changed nothing)\n"
        "  where         web1, instance i1 (pid 4321), executor process\n"
        "  begun         2026-10-25 02:15:00 +02:00\n"
        "  ended         2026-10-25 02:16:30 +02:00\n"
        "  took          1 min 30 s\n"
        "  exit code     1\n"
        "  processor     0.50 s\n"
        "  memory        45.0 MB at most\n"
        "    Traceback\n"
        "      File x\n"
        "    ValueError: no\n"
    )


def test_show_holds_a_run_against_its_own_history(crons, make_entry, make_run, make_attempt):
    """Whether eleven minutes are long is a question of the job."""
    rules = {"expected": timedelta(minutes=15), "max_silence": timedelta(days=2), "max_idle": 1, "tell_after": 3}
    entry = make_entry(policy=Policy(**rules).as_json())
    for number in range(5):
        make_attempt(make_run(entry, NOW - timedelta(hours=number + 1)))
    run = make_run(entry)
    make_attempt(run, ended_at=NOW + timedelta(minutes=11))

    shown = crons("show", str(run.pk)).out
    (row,) = objects(crons("show", str(run.pk), "--json").out)

    alert_on = "an attempt longer than 15 min, no success for 2 d, a run that examines nothing, 3 failures in a row"
    assert f"  alert on  {alert_on}\n" in shown
    assert "  took     11 min, longer than usual (1 min 30 s)\n" in shown
    assert row["usual"] == {"p50_seconds": 90.0, "p95_seconds": 90.0, "count": 5}


def test_show_json_nests_the_attempts(crons, make_entry, make_run, make_attempt):
    """One object is one run."""
    run = make_run(make_entry())
    attempt = make_attempt(run)

    (row,) = objects(crons("show", str(run.pk), "--json").out)

    assert (row["model"], row["id"], row["entry"]) == ("run", run.pk, "report")
    assert [(each["number"], each["run"], each["token"]) for each in row["attempts"]] == [
        (1, run.pk, str(attempt.token))
    ]


def test_show_of_no_run_says_where_to_look(crons):
    """Numbers are easily mistyped."""
    said = crons("show", "7")

    assert (said.code, said.err) == (1, "run 7 does not exist. See: manage.py crons history\n")


# log


@pytest.fixture
def written(make_entry, make_run, make_attempt):
    """A run of two attempts that wrote to all streams."""
    run = make_run(make_entry())
    first, second = make_attempt(run), make_attempt(run)
    chunk(first, 0, "stdout", "first try\n")
    for seq, (stream, text) in enumerate([("stdout", "a\nb"), ("stderr", "oh\x1b[0m"), ("log", "done\n")]):
        chunk(second, seq, stream, text)
    return run


def chunk(attempt, seq, stream, text):
    OutputChunk.objects.create(attempt=attempt, seq=seq, stream=stream, text=text)


def test_log_of_a_failure_ends_with_its_traceback(crons, make_entry, make_run, make_attempt):
    run = make_run(make_entry(), verdict="failed")
    attempt = make_attempt(
        run, outcome="failed", error="Traceback (most recent call last):\n  …\nValueError: no\x1b[2J\n"
    )
    error = "error\nTraceback (most recent call last):\n  …\nValueError: no\n"
    assert crons("log", "report").out == error

    OutputChunk.objects.create(attempt=attempt, seq=0, stream="stdout", text="half of it\n")

    assert crons("log", "report").out == f"half of it\n\n{error}"
    assert crons("log", "report", "--stream", "stdout").out == "half of it\n"
    *_, last = objects(crons("log", "report", "--json").out)
    assert (last["stream"], last["seq"], last["text"].splitlines()[-1]) == ("error", None, "ValueError: no\x1b[2J")


def test_log_prints_the_last_attempt_safe_to_look_at(crons, written):
    """Streams in order; what steers a terminal is left out, also where none is: a file is looked at later."""
    assert crons("log", str(written.pk)).out == "a\nbohdone\n"


def test_log_raw_prints_what_was_written(crons, written):
    """No character added or left out."""
    assert crons("log", str(written.pk), "--raw").out == "a\nboh\x1b[0mdone\n"


def test_log_takes_a_name_for_its_last_run(crons, written, make_run):
    """The last one begun: a skipped slot wrote nothing."""
    make_run(written.entry, NOW + MINUTE, verdict="skipped", reason="overlap")

    assert crons("log", "report").out == "a\nbohdone\n"


def test_log_keeps_to_attempt_and_stream(crons, written):
    """What the first try wrote is kept when the second begins."""
    assert crons("log", str(written.pk), "--attempt", "1").out == "first try\n"
    assert crons("log", str(written.pk), "--stream", "stderr", "--raw").out == "oh\x1b[0m"


def test_log_json_has_an_object_per_chunk(crons, written):
    """Programs may tell the streams apart."""
    rows = objects(crons("log", str(written.pk), "--json").out)

    assert [(row["seq"], row["stream"], row["text"]) for row in rows] == [
        (0, "stdout", "a\nb"),
        (1, "stderr", "oh\x1b[0m"),
        (2, "log", "done\n"),
    ]


# what others wrote

HOSTILE = "a\x1b]52;c;cm0gLXJm\x07\x9b2J\u202e\u200b\U000e0041b"
LOOKS = [
    ("list", "--all"), ("next",), ("history",), ("history", HOSTILE), ("show", "{run}"), ("show", HOSTILE),
    ("log", "{run}"), ("log", "{run}", "--follow"), ("health",), ("pause", HOSTILE, "--reason", HOSTILE),
    ("resume", HOSTILE), ("cancel", HOSTILE), ("cancel", HOSTILE + "x"), ("retry", "{run}"), ("prune", "--dry-run"),
    ("backfill", HOSTILE, "--since", "2026-10-24", "--until", "2026-10-25", "--dry-run"),
]  # fmt: skip


@pytest.mark.parametrize("extra", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("words", LOOKS, ids=lambda words: words[0])
def test_no_verb_lets_recorded_text_steer_a_terminal(crons, make_entry, make_run, make_attempt, words, extra):
    """Names, reasons, arguments, errors, output: each comes from somebody who feeds a job, a crontab or a form."""
    entry = make_entry(
        HOSTILE, schedule=HOSTILE, zone="UTC", description=HOSTILE, owner=HOSTILE, args={HOSTILE: HOSTILE},
        parked_reason=HOSTILE, paused_at=NOW, paused_by=HOSTILE, pause_reason=HOSTILE, source_ref=HOSTILE,
    )  # fmt: skip
    run = make_run(
        entry, verdict="failed", reason=HOSTILE[:20], detail=HOSTILE, requested_by=HOSTILE, args={"who": HOSTILE},
        trigger=HOSTILE[:32],
    )  # fmt: skip
    chunk(make_attempt(run, outcome="failed", error=HOSTILE, host=HOSTILE), 0, "stdout", HOSTILE)

    said = crons(*(word.format(run=run.pk) for word in words), *extra)

    shown = said.out + said.err
    assert shown or words == ("next",)
    assert not set(shown) & set(HOSTILE) - set("a]52;c;cm0gLXJm2Jb\\")


def test_log_says_why_there_is_nothing(crons, written, make_entry, make_run):
    """Silence is an answer, a missing attempt is a mistake; neither may look like the other."""
    skipped = make_run(make_entry("other"), verdict="skipped", reason="overlap", detail="run 3 was still going")

    silent = crons("log", str(written.pk), "--attempt", "1", "--stream", "log")
    absent = crons("log", str(written.pk), "--attempt", "3")
    unbegun = crons("log", str(skipped.pk))
    never = crons("log", "other")

    assert (silent.code, silent.out) == (0, "")
    assert silent.err == f"run {written.pk}, attempt 1 wrote nothing to log.\n"
    assert (absent.code, absent.err) == (1, f"run {written.pk} has no attempt 3: it was tried 2 time(s).\n")
    assert unbegun.err == (
        f"run {skipped.pk} was never begun, so it wrote nothing: skipped (overlap): run 3 was still going.\n"
    )
    assert never.err == "'other' has never run, so it wrote nothing. See: manage.py crons history other\n"


# sync


def test_sync_prints_what_it_did(crons, empty_registry, settings, make_entry):
    """Who deploys wants to see what the schedule became."""
    settings.CRONJOBS = []
    settings.CRONS = {}
    make_entry("old")
    jobs.job(every(minutes=5), name="fresh")(lambda: None)

    first, second = crons("sync"), crons("sync", "--json")

    assert (first.code, first.out) == (0, "created  fresh\nretired  old\n1 declared, 0 unchanged.\n")
    assert objects(second.out) == [
        {
            **{key: [] for key in ("created", "changed", "renamed", "retired", "undeclared", "renames", "problems")},
            "unchanged": ["fresh"],
        }
    ]


def test_sync_names_a_line_of_others_that_cannot_work_and_goes_on(crons, empty_registry, settings, tmp_path):
    """One mistake in a setting that was there before must not stop a deployment, nor keep other entries from it."""
    settings.CRONS = {"CRONTAB_FILES": [tmp_path / "missing.txt"]}
    settings.CRONJOBS = []

    said = crons("sync")

    assert said.code == 0
    assert said.err.startswith(f"problem: the crontab file {tmp_path / 'missing.txt'} cannot be read: ")


def test_sync_exits_with_1_where_a_module_of_declarations_fails(crons, empty_registry, settings, monkeypatch):
    """A deployment must stop there: half of what is declared is missing."""
    settings.CRONJOBS = []
    monkeypatch.setattr(empty_registry, "broken", {"stock.cron": "NameError: name 'x' is not defined"})

    said = crons("sync", "--skip-checks")

    assert said.code == 1
    assert said.err.startswith("problem: stock.cron cannot be imported: NameError: name 'x' is not defined.")


def test_sync_leaves_what_looks_like_a_mistake_and_exits_with_1(crons, empty_registry, settings, make_entry):
    """A deployment must stop there: an app may be missing."""
    settings.CRONJOBS = []
    settings.CRONS = {}
    for number in range(6):
        make_entry(f"old{number}")
    jobs.job(every(minutes=7), name="fresh")(lambda: None)

    first, second = crons("sync"), crons("sync", "--retire")

    assert (first.code, first.out) == (1, "created  fresh\n1 declared, 0 unchanged.\n")
    assert first.err.startswith("problem: 6 of 7 entries are not declared by this code: old0, old1, ")
    assert first.err.endswith("If they are to go: manage.py crons sync --retire\n")
    assert second.code == 0
    assert [line for line in second.out.splitlines() if line.startswith("retired")] == [
        f"retired  old{number}" for number in range(6)
    ]


# health


def test_health_is_0_when_nothing_is_wrong(crons, clock, make_entry):
    """For monitoring the exit code is enough."""
    make_entry()

    said = crons("health")

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Nothing is wrong.\nNo scheduler is running here; ")


def test_health_is_1_with_a_line_for_each_problem(crons, clock, make_entry):
    """What is wrong comes first, who is alive after it."""
    entry = make_entry(wake_at=NOW - 5 * MINUTE)
    Incident.objects.create(
        rule="failing", entry=entry, open_key="k", summary="report failed: no", opened_at=NOW, changed_at=NOW
    )
    beat()

    said = crons("health")

    assert said.code == 1
    assert said.out.splitlines() == [
        "failing: report: report failed: no; since 2026-10-25 00:15:00 UTC",
        "overdue: report: was due, and nothing has looked; since 2026-10-25 00:10:00 UTC. "
        "Start manage.py crons serve, or see why cron does not call manage.py crons tick",
        "serve on web1 (pid 12): started 1 h ago, seen 5 s ago, release v7, its clock is +2.5 s off",
    ]


def test_health_names_all_pauses_that_hold(crons, clock, make_entry):
    """Those of a single entry too: `operate.md` says so, and a job that somebody paused and forgot does not run."""
    make_entry("bill", tags=["billing"])
    make_entry("report")
    crons("pause", "report", "--reason", "wrong numbers")
    crons("pause", "--tag", "billing", "--reason", "bank is down")

    said, listed = crons("health"), crons("health", "--json")

    assert said.code == 0
    assert [line.partition(" by ")[0] for line in said.out.splitlines()[:2]] == [
        "entries tagged 'billing' are paused since 2026-10-25 00:15:00 UTC",
        "report is paused since 2026-10-25 00:15:00 UTC",
    ]
    assert said.out.splitlines()[1].endswith(": wrong numbers. To end it: manage.py crons resume report")
    assert [(each["model"], each["entry"], each["tag"]) for each in objects(listed.out)] == [
        ("pause", None, "billing"),
        ("pause", "report", ""),
    ]


def test_health_json_tells_problems_from_heartbeats(crons, clock, make_entry):
    """One object per line, as everywhere."""
    make_entry(parked_reason="no zone", wake_at=FAR_FUTURE)
    beat()

    said = crons("health", "--json")

    problem, alive = objects(said.out)
    assert said.code == 1
    assert (problem["model"], problem["kind"], problem["entry"]) == ("problem", "parked", "report")
    assert (alive["model"], alive["host"], alive["beat_at"]) == ("heartbeat", "web1", "2026-10-25T00:14:55Z")


def test_health_is_2_when_the_database_does_not_answer(crons, monkeypatch):
    """Not knowing is not the same as being ill."""
    monkeypatch.setattr(api, "health", refuse(LedgerUnavailable("the database did not answer: gone")))

    said = crons("health")

    assert (said.code, said.err) == (2, "the database did not answer: gone\n")


@pytest.mark.parametrize("given", [5, {"MAX_RUNING": 3}, {"MAX_RUNNING": 0}, {"LOG_LEVEL": "LOUD"}, {"ENABLED": "no"}])
def test_health_is_2_when_the_settings_are_wrong(crons, clock, settings, given):
    """A tick with such settings begins nothing, or not what was meant: "Nothing is wrong" would be a lie."""
    settings.CRONS = given

    said = crons("health")

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("CRONS")


def test_health_is_2_in_a_copy(crons, clock):
    """A copy fires nothing, so all its entries look overdue; that says nothing of the original."""
    Deployment.objects.create(pk=1, identity="elsewhere", described="the database p of server 1", adopted_at=NOW)

    said = crons("health")

    assert said.code == 2
    assert said.err == (
        "this database belongs to another deployment (the database p of server 1), so what its rows say is true "
        "of that one. If it is meant to run here from now on: manage.py crons adopt\n"
    )


def test_health_adopts_nothing(crons, clock):
    """A look changes nothing."""
    crons("health")

    assert not Deployment.objects.exists()


def test_health_says_when_this_process_is_switched_off(crons, clock, monkeypatch):
    """Else nobody finds out why nothing begins here."""
    monkeypatch.setenv("CRONS_ENABLED", "0")

    said = crons("health")

    assert said.code == 1
    assert said.out.splitlines()[0] == (
        'disabled: switched off: CRONS["ENABLED"] or CRONS_ENABLED in the environment says that this process may '
        "record and begin nothing"
    )


def beat():
    Heartbeat.objects.create(
        instance="i1",
        kind="serve",
        host="web1",
        pid=12,
        boot_id="b",
        release="v7",
        started_at=NOW - 60 * MINUTE,
        beat_at=NOW - timedelta(seconds=5),
        expected_by=NOW + MINUTE,
        clock_skew_seconds=2.5,
    )


# adopt


@pytest.fixture
def copied():
    """A database that belongs elsewhere."""
    return Deployment.objects.create(pk=1, identity="elsewhere", described="the file /old", adopted_at=NOW)


def test_adopt_with_yes_moves_the_deployment(crons, copied):
    """Who did it is kept."""
    said = crons("adopt", "--yes")

    place = deployment.here()
    copied.refresh_from_db()
    assert said.code == 0
    assert said.out == (
        "  belongs to  the file /old, since 2026-10-25 00:15:00 UTC\n"
        f"  this is     {place.described}\n"
        "Adopted: it fires from here now.\n"
    )
    assert copied.identity == place.identity
    assert re.fullmatch(r".+@.+", copied.adopted_by)
    assert AuditEvent.objects.get().verb == "adopt"


def test_adopt_without_a_person_or_a_yes_changes_nothing(crons, copied):
    """A script that was copied with the database must not adopt it by the way."""
    said = crons("adopt")

    copied.refresh_from_db()
    assert said.code == 1
    assert said.err == "adopting needs a yes, and nobody is here to ask: manage.py crons adopt --yes\n"
    assert copied.identity == "elsewhere"


@pytest.mark.parametrize(("answer", "is_adopted"), [("y\n", True), ("\n", False), ("n\n", False)])
def test_adopt_at_a_terminal_asks(copied, monkeypatch, paint, answer, is_adopted):
    """Only a yes is a yes."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    refused = (
        nullcontext() if is_adopted else pytest.raises(CommandError, match=r"^not adopted: nothing was changed\.$")
    )
    with refused:
        call_command("crons", "adopt", "--no-color", stdout=paint)

    copied.refresh_from_db()
    assert "If the other place still runs, it stops firing. Adopt? [y/N] " in paint.getvalue()
    assert (copied.identity == deployment.here().identity) is is_adopted


def test_adopting_twice_is_no_deed(crons):
    """The audit trail holds what changed something."""
    first, second = crons("adopt", "--yes", "--json"), crons("adopt")

    assert objects(first.out)[0]["adopted"] is True
    assert second.out.endswith("It belongs here already.\n")
    assert AuditEvent.objects.count() == 1


# pause, resume, cancel


def test_pause_and_resume_say_what_holds(crons, clock, make_entry):
    """Both go into the audit trail with the person at the machine."""
    make_entry()

    paused = crons("pause", "report", "--reason", "moving", "--until", "2026-10-25T02:30:00+01:00")
    resumed, again = crons("resume", "report"), crons("resume", "report")

    assert re.fullmatch(
        r"report is paused until 2026-10-25 02:30:00 \+01:00 by \S+@\S+: moving\n",
        paused.out,
    )
    assert resumed.out == "report runs again.\n"
    assert again.out == "report was not paused.\n"
    assert list(AuditEvent.objects.order_by("pk").values_list("verb", flat=True)[:2]) == ["pause", "resume"]


def test_pausing_everything_says_so_wherever_somebody_looks(crons, clock, make_entry):
    """A house that was stopped and forgotten must not look like one at rest."""
    make_entry("bill", tags=["billing"])
    make_entry("report")

    paused = crons("pause", "--all", "--reason", "flood")
    listed, health = crons("list"), crons("health")
    resumed = crons("resume", "--all")

    lines = paused.out.splitlines()
    assert re.fullmatch(r"bill is paused \(everything is\) by \S+@\S+: flood", lines[0])
    assert lines[2] == "2 entries of all are paused. What runs already goes on; crons cancel stops it."
    told = r"everything is paused since 2026-10-25 00:15:00 UTC by \S+@\S+: flood\. "
    assert re.search(f"^{told}To end it: manage.py crons resume --all$", listed.err, re.MULTILINE)
    assert re.search(f"^{told}", health.out, re.MULTILINE)
    assert resumed.out.splitlines() == [
        "bill runs again.",
        "report runs again.",
        "2 entries run again after crons pause --all; 0 are paused still.",
    ]


def test_pausing_a_tag_leaves_the_others(crons, clock, make_entry):
    """The rows are told as JSON, one each."""
    make_entry("bill", tags=["billing"])
    make_entry("report")

    paused = crons("pause", "--tag", "billing", "--reason", "bank is down", "--json")
    one = crons("resume", "bill")
    resumed = crons("resume", "--tag", "billing", "--json")

    assert [(row["name"], row["pause_scope"]) for row in objects(paused.out)] == [("bill", "tag:billing")]
    assert one.code == 1
    assert one.err.endswith("To end it: manage.py crons resume --tag billing\n")
    assert [(row["name"], row["paused_at"]) for row in objects(resumed.out)] == [("bill", None)]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_what_is_to_be_paused_has_to_be_said(crons, clock, make_entry, verb):
    """Nothing, or two things at once, is a mistake of usage, not everything."""
    make_entry()
    reason = ["--reason", "x"] if verb == "pause" else []

    assert "one of the arguments NAME --tag --all is required" in crons(verb, *reason).err
    assert "not allowed with argument" in crons(verb, "report", "--all", *reason).err
    assert Entry.objects.get().paused_at is None


def test_pause_refuses_an_end_that_is_past(crons, clock, make_entry):
    """It would hold nothing, and look as if it did."""
    make_entry()

    said = crons("pause", "report", "--reason", "x", "--until", "2026-10-25T00:00:00+00:00")

    assert (said.code, said.err) == (
        1,
        "--until 2026-10-25T00:00:00+00:00 is past: expected a moment to come.\n",
    )
    assert Entry.objects.get().paused_at is None


def test_pause_json_is_the_entry(crons, clock, make_entry):
    """As list prints it."""
    make_entry()

    (row,) = objects(crons("pause", "report", "--reason", "moving", "--json").out)

    assert (row["name"], row["paused_at"], row["pause_reason"]) == ("report", "2026-10-25T00:15:00Z", "moving")


def test_cancel_ends_what_has_not_begun(crons, clock, make_entry, make_run):
    """Nothing has to be killed, so the verdict is there at once."""
    run = make_run(make_entry(), state="due", verdict="", ended_at=None)

    said = crons("cancel", str(run.pk), "--reason", "wrong list")

    run.refresh_from_db()
    assert said.out == f"run {run.pk} of report is cancelled.\n"
    assert run.verdict == "cancelled"
    assert re.fullmatch(r"wrong list \(by \S+@\S+\)", run.detail)


def test_cancel_asks_what_is_running(crons, clock, make_entry, make_run, make_attempt):
    """Its process learns with the next renewal."""
    run = make_run(make_entry(), state="running", verdict="", ended_at=None)
    attempt = make_attempt(run, outcome="", ended_at=None)

    said = crons("cancel", str(run.pk), "--reason", "wrong list", "--json")

    attempt.refresh_from_db()
    assert objects(said.out)[0]["state"] == "running"
    assert attempt.cancel_requested_at == NOW


def test_cancel_of_what_is_over_is_refused(crons, clock, make_entry, make_run):
    """A verdict is final."""
    run = make_run(make_entry())

    said = crons("cancel", str(run.pk), "--reason", "x")

    assert (said.code, said.err) == (1, f"run {run.pk} is over: succeeded.\n")


# retry


def test_retry_says_where_to_look(crons, clock, make_entry, make_run, make_attempt):
    """It does not wait; and of a lost run it says what nobody can know."""
    run = make_run(make_entry(), verdict="lost")
    make_attempt(run, outcome="lost")

    said = crons("retry", str(run.pk), "--reason", "host is back")

    assert said.out == f"run {run.pk} of report is tried again. See: manage.py crons show {run.pk}\n"
    assert said.err == "Its last attempt is lost: it may have done some of its work already.\n"
    run.refresh_from_db()
    assert (run.state, run.asked_at) == ("waiting", NOW)
    assert AuditEvent.objects.get().reason == "host is back"


def test_retry_of_a_success_is_refused(crons, clock, make_entry, make_run):
    """What is done is done."""
    run = make_run(make_entry())

    said = crons("retry", str(run.pk), "--json")

    assert (said.code, said.out) == (1, "")
    assert said.err == (
        f"run {run.pk} has succeeded, so there is nothing to try again. "
        "Once more besides: manage.py crons run report --manual\n"
    )


def test_retry_as_json_is_the_row(crons, clock, make_entry, make_run):
    """As of cancel."""
    run = make_run(make_entry(), verdict="failed")

    said = crons("retry", str(run.pk), "--json")

    [row] = objects(said.out)
    assert (row["id"], row["state"], row["asked_at"], said.err) == (run.pk, "waiting", "2026-10-25T00:15:00Z", "")
