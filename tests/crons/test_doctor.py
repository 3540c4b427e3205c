"""What the doctor says of clocks, lines and rows; the start under cron is tried in tests/acceptance/test_doctor.py."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crons import command, cron, doctor, job
from crons.doctor import bare, clocks, installed, missing, rows, start
from crons.doctor.findings import BAD, GOOD, Finding
from crons.doctor.lines import lines_by_hand
from crons.exceptions import LedgerUnavailable, TargetError
from crons.extensions import Extension
from crons.hosts.instances import boot_id, host
from crons.jobs import Registry
from crons.ledger import deployment
from crons.models import Attempt, Deployment, Entry, Heartbeat, Run
from crons.schedules import FAR_FUTURE
from crons.sources import crontab_files
from crons.targets import CrontabTarget, blocks
from crons.targets.installation import Installation
from tests.crons.test_crontab_target import Crontab, crontab  # noqa: F401 (a fixture)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


class Other(Extension):
    """Another system whose command enters the ledger where its app is ours."""

    commands = {"runcrons": "shop.stand_in"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's time stands still at NOW, and this machine's with it."""
    monkeypatch.setattr("crons.ledger.database_now", lambda: NOW)
    monkeypatch.setattr("crons.doctor.clocks.timezone.now", lambda: NOW)


@pytest.fixture
def ended(clock: None, make_entry: Callable[..., Entry]) -> Callable[..., Entry]:
    """Make an entry with attempts that took so many seconds."""

    def make(name: str, schedule: str, *seconds: float) -> Entry:
        entry = make_entry(name, schedule)
        for number, length in enumerate(seconds):
            at = NOW - timedelta(hours=number)
            run = Run.objects.create(
                entry=entry, slot_at=at, planned_at=at, trigger="test", recorded_at=at, state="done", tries=1
            )
            Attempt.objects.create(
                run=run,
                number=1,
                token=uuid4(),
                executor="process",
                instance="i",
                host="h",
                pid=1,
                boot_id="b",
                begun_at=at,
                ended_at=at + timedelta(seconds=length),
            )
        return entry

    return make


def bad(findings: Any) -> list[Finding]:
    """Return the findings that are wrong."""
    return [finding for finding in findings if finding.level == doctor.BAD]


def test_a_job_that_takes_longer_than_its_interval_is_named(ended: Callable[..., Entry], empty_registry: Registry):
    """One that is nearly always skipped for overlap looks busy, not broken."""
    ended("slow", "*/5 * * * *", *[10.0] * 18, 301.0, 400.0)
    ended("spiky", "*/5 * * * *", *[10.0] * 19, 4000.0)
    ended("daily", "0 6 * * *", 3600.0, 3600.0, 3600.0)
    ended("new", "* * * * *", 90.0, 90.0)

    [found] = bad(rows.examine(None))

    assert found.what == "duration of slow"
    assert found.found == "of its newest attempts one in twenty took 301.0 s or longer"
    assert found.expected == "less than 300.0 s, the distance of its slots"
    assert found.do.endswith("manage.py crons history slow --verdict skipped")
    assert bad(rows.examine("spiky")) == []


def test_durations_cost_the_same_for_any_number_of_entries(ended: Callable[..., Entry], empty_registry: Registry):
    """Somebody asks while the database is in trouble."""

    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            list(rows.examine(None))
        return len(captured)

    ended("a", "* * * * *", 1.0, 1.0, 1.0)
    with_one = statements()
    for name in "bcdefg":
        ended(name, "* * * * *", 1.0, 1.0, 1.0)

    assert statements() == with_one


def test_rows_of_another_deployment_are_said(clock: None, db: None, empty_registry: Registry):
    """In a copy nothing fires, whatever cron does."""
    Deployment.objects.create(pk=1, identity="x", described="the file /srv/live", adopted_at=NOW)

    [found] = bad(rows.examine(None))

    assert found.found == "the database belongs to the file /srv/live"
    assert found.do == "manage.py crons adopt"


def test_declared_and_never_synced_is_said(clock: None, db: None, empty_registry: Registry):
    """The tick line works, and has nothing to do."""

    @job(cron("0 6 * * *"))
    def report() -> None:
        """Nothing."""

    assert [found.do for found in bad(rows.examine(None))] == ["Write it: manage.py crons sync"]


@pytest.mark.parametrize(("ahead", "level"), [(0.4, "good"), (-2, "warn"), (7, "bad")])
def test_clocks_that_differ_are_told(ahead: float, level: str, clock: None, db: None, monkeypatch: Any):
    """A host whose clock is ahead fires before the database's minute has begun."""
    monkeypatch.setattr("crons.doctor.clocks.timezone.now", lambda: NOW + timedelta(seconds=ahead))

    found = next(iter(clocks.examine(None)))

    assert (found.what, found.level) == ("clock", level)
    assert found.found == f"this machine is {ahead:+.1f} s from the database"


@pytest.mark.parametrize(
    ("there", "level", "said"),
    [(0.5, "good", "+0.0"), (3.0, "good", "+0.0"), (3.5, "good", "-0.5"), (-2.0, "warn", "+2.0"), (9.0, "bad", "-6.0")],
)
def test_an_answer_that_takes_long_is_no_skew(there: float, level: str, said: str, clock: None, monkeypatch: Any):
    """It takes three seconds here: what the clocks differ by at least is told."""
    here = iter([NOW, NOW + timedelta(seconds=3)])
    monkeypatch.setattr("crons.doctor.clocks.timezone.now", lambda: next(here))
    monkeypatch.setattr("crons.doctor.clocks.ledger.database_now", lambda: NOW + timedelta(seconds=there))

    found = next(iter(clocks.examine(None)))

    assert (found.what, found.level, found.found) == ("clock", level, f"this machine is {said} s from the database")


def test_zones_that_differ_at_any_time_of_the_year_are_told(clock: None, db: None, monkeypatch: Any, settings: Any):
    """In winter London and UTC are one; the line is an hour off from March on."""
    settings.CRONS = {"TIME_ZONE": "Europe/London"}
    settings.TIME_ZONE = "UTC"
    monkeypatch.setattr("crons.targets.crond.zone", lambda: (ZoneInfo("Europe/Lisbon"), "Europe/Lisbon"))
    monkeypatch.setattr("crons.doctor.clocks._zone_of_server", lambda: "UTC")

    found = list(clocks.examine(None))[1:]

    assert [(each.what, each.level, each.found) for each in found] == [
        ("zone of TIME_ZONE", "warn", "UTC"),
        ("zone of the database server", "warn", "UTC"),
    ]
    assert {each.expected for each in found} == {"Europe/London, in which schedules are read"}


@pytest.fixture
def report(empty_registry: Registry) -> None:
    """One declared job."""

    @job(cron("0 6 * * *"))
    def report() -> None:
        """Nothing."""


@pytest.fixture
def machine(crontab: Crontab, monkeypatch: Any, report: None, db: None) -> Crontab:  # noqa: F811
    """A machine whose cron runs and whose system crontabs are empty."""
    monkeypatch.setattr("crons.targets.crond.is_running", lambda: True)
    monkeypatch.setattr("crons.targets.crond.system_lines", list)
    return crontab


def test_no_trigger_at_all_is_the_worst(machine: Crontab):
    """Nothing fails, nothing is red, nothing runs."""
    [found] = bad(installed.examine(None))

    assert found.what == "triggers"


def test_a_scheduler_that_lives_needs_no_crontab(machine: Crontab, monkeypatch: Any):
    """Not even a program of that name."""
    now = datetime.now(UTC)
    Heartbeat.objects.create(
        instance="x", kind="serve", host=host(), pid=7, boot_id="elsewhere", started_at=now, beat_at=now,
        expected_by=now + timedelta(minutes=1),
    )  # fmt: skip
    monkeypatch.setattr("crons.targets.crontab.shutil.which", lambda *args, **kwargs: None)

    found = list(installed.examine(None))

    assert bad(found) == []
    assert found[0].level == "warn"
    assert found[0].found.startswith("there is no program crontab here")
    assert found[-1].found == f"serve on {host()} (pid 7)"
    assert boot_id() != "elsewhere"


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (f"* * * * * cd {ROOT} && python manage.py crons tick", True),
        (f"0 6 * * * {ROOT}/report.sh", True),
        (f"# * * * * * cd {ROOT} && python manage.py crons tick", False),
        ("* * * * * cd /elsewhere && python manage.py crons tick", False),
        (f"* * * * * tar c {ROOT}", False),
        (f"* * * * * tar c {ROOT}/report.sh", False),
        (f"* * * * * python {ROOT}/manage.py crons serve", True),
        (f"* * * * * python {ROOT}/manage.py crons list", False),
        # Other work of this project begins no jobs, also where a job calls the same command.
        (f"* * * * * python {ROOT}/manage.py clearsessions", False),
        (f"* * * * * python {ROOT}/manage.py flush_mail", False),
        (f"* * * * * python {ROOT}/manage.py report", True),
        # Without their stand-ins these call their functions past the ledger.
        (f"* * * * * python {ROOT}/manage.py crontab run 0123456789abcdef0123456789abcdef", None),
        (f"* * * * * python {ROOT}/manage.py runcrons", None),
    ],
)
def test_lines_written_by_hand_count(machine: Crontab, line: str, counts: bool | None, monkeypatch: Any):
    """Who wrote the line by hand must not be told that nothing fires; nor that something does which does not."""
    command("flush_mail", schedule=cron("0 6 * * *"))
    _stand_in(monkeypatch, {} if counts is None else Other.commands)
    machine.content = f"MAILTO=x\n{line}\n".encode()

    found = list(installed.examine(None))

    assert (bad(found) == []) == bool(counts)
    assert ("no line of ours; by hand: line 2" in [each.found for each in found]) == bool(counts)


def test_lines_of_other_packages_count_with_their_stand_ins(machine: Crontab, monkeypatch: Any):
    """With them, they enter the ledger."""
    _stand_in(monkeypatch, Other.commands)
    machine.content = f"* * * * * python {ROOT}/manage.py runcrons\n".encode()

    assert lines_by_hand(machine.content) == ["line 1"]


def _stand_in(monkeypatch: Any, commands: Mapping[str, str]) -> None:
    monkeypatch.setattr(crontab_files, "extensions", lambda: (Other(),))
    monkeypatch.setattr(crontab_files, "get_commands", lambda: dict(commands))


@pytest.mark.parametrize("jobs", [1, 5])
def test_lines_by_hand_are_counted_in_the_whole_file(machine: Crontab, jobs: int):
    """Somebody goes there with an editor."""
    lines = [b"* * * * * ours"] * jobs
    block = blocks.make(CrontabTarget().key, lines, mode="per-job", place=CrontabTarget().place)
    machine.content = block + f"\n* * * * * cd {ROOT} && python manage.py crons tick\n".encode()

    assert lines_by_hand(machine.content or b"") == [f"line {jobs + 4}"]


def test_lines_without_a_daemon_fire_nothing(machine: Crontab, monkeypatch: Any):
    """Containers have the program crontab and nobody who reads it."""
    machine.content = f"* * * * * cd {ROOT} && python manage.py crons tick\n".encode()
    monkeypatch.setattr("crons.targets.crond.is_running", lambda: False)

    [found] = bad(installed.examine(None))

    assert found.found == "no process called cron or crond runs here"


def test_lines_of_an_older_release_are_told(machine: Crontab):
    """The path of the interpreter changed with the deploy."""
    machine.content = blocks.make(CrontabTarget().key, [b"* * * * * old"], mode="tick", place=CrontabTarget().place)

    [found] = bad(installed.examine(None))

    assert found.found == (
        "our lines are not as they should be: the declarations, paths or settings have changed since"
    )
    assert found.do == "manage.py crons apply"


def test_a_log_directory_that_cannot_be_made_is_told(machine: Crontab, settings: Any, tmp_path: Path):
    """The shell ends before the job begins, and says so to nobody."""
    (tmp_path / "file").touch()
    settings.CRONS = {**settings.CRONS, "LOG_DIR": str(tmp_path / "file" / "log")}

    [found] = bad(start.examine_files(None))

    assert found.what == "log directory"
    assert found.found.startswith(f"{tmp_path}/file cannot be written by ")


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("KeyError: 'SHOP_KEY'", ["variable SHOP_KEY"]),
        ("decouple.UndefinedValueError: SHOP_KEY not found. Declare it as envvar", ["variable SHOP_KEY"]),
        ("/bin/sh: 1: SHOP_KEY: parameter not set", ["variable SHOP_KEY"]),
        ("SHOP_KEY is abc, all is well\nKeyError: 'other'", []),
        ("KeyError: 'HOME'", []),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'shop-dump'", ["program shop-dump"]),
        ("/bin/sh: 1: shop-dump: not found", ["program shop-dump"]),
        ("bash: line 1: shop-dump: command not found", ["program shop-dump"]),
        ("env: 'shop-dump': No such file or directory", ["program shop-dump"]),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'rates.csv'", ["file rates.csv"]),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.csv'", []),
        ("FileNotFoundError: [Errno 2] No such file or directory: '{home}/.pgpass'", ["variable HOME"]),
        ("FileNotFoundError: [Errno 2] No such file or directory: '{home}/.netrc'", []),
        ("UnicodeEncodeError: 'ascii' codec can't encode character", ["variable LANG"]),
        ("ValueError: no stock", []),
        ("HTTPError: 404: customer: not found", []),
    ],
)
def test_what_only_this_shell_has_is_read_from_what_the_run_said(
    said: str, named: list[str], monkeypatch: Any, tmp_path: Path
):
    """A failure under cron has few causes, and the same ones each time; what it has here too is none of them."""
    program = tmp_path / "shop-dump"
    program.touch(0o755)
    (tmp_path / "rates.csv").touch()
    (tmp_path / ".pgpass").touch()
    monkeypatch.chdir(tmp_path)
    for name, value in (("SHOP_KEY", "abc"), ("HOME", str(tmp_path)), ("LANG", "de_DE.UTF-8")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    home = bare.environment()["HOME"]

    findings = list(missing.name_lacking(said.replace("{home}", home), Installation.find(tmp_path)))

    assert [finding.what for finding in findings] == named


def test_a_start_that_hangs_leaves_nothing_behind(tmp_path: Path):
    """Settings that wait for a host that cron cannot reach; the shell is only the first of the processes."""
    told = tmp_path / "pid"

    with pytest.raises(TargetError, match=r"^it did not start within 1 seconds: "):
        bare.run(f"cd / && sh -c 'echo $$ >{told}; exec sleep 600' && true", timeout_seconds=1)

    with suppress(ProcessLookupError):
        ended = select.poll()
        ended.register(os.pidfd_open(int(told.read_text())), select.POLLIN)
        assert ended.poll(10_000) != []


def test_a_part_that_fails_itself_is_a_finding(db: None, report: None, monkeypatch: Any):
    """It ended in a traceback, and hid what all other parts would have found."""

    def fails(name: str | None) -> Iterator[Finding]:
        yield Finding("first", GOOD, "well")
        raise KeyError("no such\nrow")

    monkeypatch.setattr(
        doctor, "PARTS", (("rows", fails), ("last", lambda name: iter([Finding("last", GOOD, "well")])))
    )

    assert [(found.what, found.level, found.found) for found in doctor.examine()] == [
        ("first", GOOD, "well"),
        ("rows", BAD, "looking at it failed: KeyError: 'no such\\nrow'"),
        ("last", GOOD, "well"),
    ]


def test_a_parked_entry_does_not_hide_what_takes_too_long(ended: Callable[..., Entry], empty_registry: Registry):
    """Its schedule cannot be read, so nobody knows its interval; the others have theirs."""
    ended("often", "every 10s", 20, 20, 20)
    broken = ended("broken", "every 10s", 20, 20, 20)
    Entry.objects.filter(pk=broken.pk).update(schedule="61 * * * *", parked_reason="no minute 61", wake_at=FAR_FUTURE)

    found = [each.what for each in bad(rows.examine(None))]

    assert found == ["parked broken", "duration of often"]


def test_a_part_that_cannot_be_looked_at_is_a_finding(db: None, report: None, monkeypatch: Any):
    """The doctor is asked when things are broken."""

    def away(name: str | None) -> Any:
        raise LedgerUnavailable("the database did not answer: gone")

    monkeypatch.setattr(doctor, "PARTS", (("cron", away), ("ledger", lambda name: iter(()))))

    assert list(doctor.examine()) == [
        Finding("cron", "bad", "the database did not answer: gone", "an answer", "Mend that first, then ask again.")
    ]
    assert not Deployment.objects.filter(identity=deployment.here().identity).exists()
