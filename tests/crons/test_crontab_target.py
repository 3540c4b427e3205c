"""The crontab as a target: only our block, exactly, and back."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crons import cron, every, job
from crons.exceptions import TargetError
from crons.jobs import Registry
from crons.models import AuditEvent, Entry
from crons.targets import blocks
from crons.targets.crontab import CrontabTarget
from tests.crons.cli.conftest import Said, call_crons

FOREIGN = b"MAILTO=me@example.com\nSHELL=/bin/bash\n# caf\xe9 \xff\x00\n5 4 * * * /bin/backup 100\\%\r\n\n# no newline"
ROOT = Path(__file__).resolve().parents[2]


class Crontab:
    """The account's crontab, as a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def content(self) -> bytes | None:
        return self.path.read_bytes() if self.path.exists() else None

    @content.setter
    def content(self, value: bytes | None) -> None:
        if value is None:
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_bytes(value)

    def edit(self, old: bytes, new: bytes) -> None:
        content = self.content or b""
        assert old in content
        self.content = content.replace(old, new)


@pytest.fixture
def crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Crontab:
    """A machine with a program crontab, and a state directory of the test's own."""
    program = tmp_path / "bin" / "crontab"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {Path(__file__).with_name("fake_crontab.py")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CRONTAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    settings.CRONS = {"STATE_DIR": str(tmp_path / "state"), "IDENTITY": "shop"}
    settings.CRONJOBS = []
    return Crontab(tmp_path / "store")


@pytest.fixture
def report(empty_registry: Registry) -> None:
    """One declared job, each day at 06:00."""

    @job(cron("0 6 * * *"))
    def report() -> None:
        """Nothing."""


@pytest.fixture
def crons(transactional_db: None) -> Callable[..., Said]:
    """Call `manage.py crons …`."""
    return call_crons


def lines_of(crontab: Crontab) -> list[str]:
    """Return the job lines of our block."""
    found = blocks.find(crontab.content or b"", CrontabTarget().key)
    assert found is not None
    return [line for line in found.body.decode().splitlines() if not line.startswith("#")]


def test_apply_puts_one_tick_line_above_everything(crontab: Crontab, report: None, crons: Any, tmp_path: Path):
    """What stands above a line holds for it, so nothing of others does."""
    crontab.content = FOREIGN

    done = crons("apply")

    assert done.code == 0, done.err
    assert crontab.content is not None
    assert crontab.content.endswith(b"\n" + FOREIGN)
    log = tmp_path / "state" / CrontabTarget().key / "log"
    assert log.is_dir()
    assert lines_of(crontab) == [
        f"* * * * * cd {ROOT} && DJANGO_SETTINGS_MODULE=tests.settings {sys.executable} {ROOT}/manage.py crons tick "
        f">> {log}/tick.log 2>&1"
    ]
    assert crons("plan").code == 0
    assert [entry.name for entry in Entry.objects.all()] == ["report"]


def test_per_job_lines_run_each_entry_on_its_schedule(crontab: Crontab, report: None, crons: Any):
    """The mode that people read; it is kept until another is asked for."""

    @job(every(minutes=5))
    def beat() -> None:
        """Nothing."""

    done = crons("apply", "--per-job")

    assert done.code == 0, done.err
    assert [line.split(" >> ")[0].replace(f"{ROOT}/manage.py", "M").split(" M ")[1] for line in lines_of(crontab)] == [
        "crons run beat --scheduled",
        "crons run report --scheduled",
    ]
    assert [line.split(" cd ")[0] for line in lines_of(crontab)] == ["*/5 * * * *", "0 6 * * *"]
    assert crons("plan").code == 0
    assert crons("plan", "--tick").code == 3


def test_what_no_line_can_say_is_refused_by_entry(crontab: Crontab, report: None, crons: Any):
    """The others get their lines; the exit code says that it is not well."""

    @job(every(minutes=7))
    def odd() -> None:
        """Nothing."""

    @job(every(seconds=90))
    def quick() -> None:
        """Nothing."""

    done = crons("apply", "--per-job")

    assert done.code == 1
    assert len(lines_of(crontab)) == 1
    assert done.err.splitlines()[:2] == [
        "no line for odd: 'every 420s' cannot be a crontab line: every 7 minutes does not divide a day, "
        "and cron begins anew each day. One tick line fires everything: manage.py crons apply --tick.",
        "no line for quick: 'every 90s' cannot be a crontab line: it has seconds, and cron knows whole minutes. "
        "One tick line fires everything: manage.py crons apply --tick.",
    ]
    assert crons("plan").code == 1


def test_undo_goes_back_one_apply_at_a_time(crontab: Crontab, report: None, crons: Any):
    """What others changed meanwhile stays."""
    crontab.content = FOREIGN
    crons("apply")
    ticking = crontab.content
    crons("apply", "--per-job")
    crontab.edit(b"/bin/backup", b"/bin/better")
    crontab.edit(b"SHELL=/bin/bash\n", b"")

    first, second, third = crons("undo"), crons("undo"), crons("undo")

    assert [first.code, second.code, third.code] == [0, 0, 1]
    assert crontab.content == FOREIGN.replace(b"/bin/backup", b"/bin/better").replace(b"SHELL=/bin/bash\n", b"")
    assert third.err.startswith("nothing to undo: no backup in ")
    assert third.err.endswith("To take our lines out altogether: manage.py crons undo --all\n")
    assert ticking is not None


def test_undo_of_the_first_apply_leaves_no_crontab_where_there_was_none(crontab: Crontab, report: None, crons: Any):
    """An empty crontab is not the same as none: cron.allow and audits see the difference."""
    crons("apply")
    crons("undo")
    none = crontab.content
    crontab.content = b""
    crons("apply")
    crons("undo")

    assert none is None
    assert crontab.content == b""


def test_undo_all_needs_no_backup(crontab: Crontab, report: None, crons: Any, tmp_path: Path):
    """The way back when the home directory is gone."""
    crontab.content = FOREIGN
    crons("apply")
    shutil.rmtree(tmp_path / "state")

    done = crons("undo", "--all")

    assert done.code == 0, done.err
    assert crontab.content == FOREIGN


def test_an_edited_block_is_shown_and_replaced_by_apply_only(crontab: Crontab, report: None, crons: Any):
    """A hand that stopped our line at night must be seen."""
    crons("apply")
    crontab.edit(b"\n* * * * * cd", b"\n#* * * * * cd")
    edited = crontab.content

    planned = crons("plan")

    assert planned.code == 3
    assert planned.err == "our block in the crontab is not as it was written: it was edited by hand.\n"
    assert "-#* * * * * cd" in planned.out
    assert "+* * * * * cd" in planned.out
    assert crontab.content == edited
    assert crons("apply").code == 0
    assert lines_of(crontab)[0].startswith("* * * * * cd")


def test_a_setting_put_above_the_block_is_drift(crontab: Crontab, report: None, crons: Any):
    """SHELL=, PATH= or CRON_TZ= above our lines changes what they do, though not a byte of them changed."""
    crons("apply")
    crontab.content = b"# mine\nPATH=/opt/bin\n" + (crontab.content or b"")

    planned = crons("plan")
    applied = crons("apply")

    assert planned.code == 3
    assert "PATH= on line 2 stands above it and holds for it." in planned.err
    assert applied.code == 0
    assert crontab.content is not None
    assert crontab.content.endswith(b"\n# mine\nPATH=/opt/bin\n")


def test_two_projects_never_touch_each_other(crontab: Crontab, report: None, crons: Any, settings: Any):
    """django-crontab keeps its lines apart by a comment that two projects of one name share."""
    crontab.content = FOREIGN
    crons("apply")
    first = crontab.content
    settings.CRONS = {**settings.CRONS, "IDENTITY": "shop2"}
    AuditEvent.objects.all().delete()
    crons("adopt", "--yes")
    crons("apply", "--per-job")
    both = crontab.content
    crons("undo")

    assert first is not None
    assert both is not None
    assert both.endswith(first)
    assert crontab.content == first


def test_one_identity_with_two_databases_stops(crontab: Crontab, report: None, crons: Any, monkeypatch: Any):
    """Settings copied to a second project name the first one's block."""
    crons("apply")
    before = crontab.content
    monkeypatch.setattr("crons.deployment._place", lambda: ("elsewhere", ["sqlite", "m", "/elsewhere"]))

    refused = crons("apply", "--per-job")
    taken = crons("apply", "--per-job", "--take-over")

    assert refused.code == 1
    assert refused.err == (
        f"the crontab has a block of 'shop' for another database, written in {ROOT}: two projects with one "
        "CRONS['IDENTITY']? Give each its own. If the database of this one has moved: --take-over\n"
    )
    assert before is not None
    assert taken.code == 0, taken.err
    assert len(lines_of(crontab)) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{begin}\n", "line 1 of the crontab begins a block that does not end"),
        ("{end}\n", "line 1 of the crontab ends a block that does not begin above it"),
        ("{begin}\n{end}\n{begin}\n{end}\n", "line 3 of the crontab begins the block of line 1 a second time"),
        ("{begin}\n{other}\n{end}\n", "line 2 of the crontab begins a block inside that of line 1"),
        ("{other}\n{end}\n", "line 2 of the crontab ends a block that does not begin above it"),
    ],
)
def test_broken_marks_stop(crontab: Crontab, report: None, crons: Any, content: str, said: str):
    """Where it cannot be told which lines are ours, none is touched."""
    key = CrontabTarget().key
    told = content.format(begin=f"# begin crons {key} x", end=f"# end crons {key}", other=f"# begin crons {'0' * 16}")
    crontab.content = told.encode()

    done = [crons("plan"), crons("apply"), crons("undo", "--all")]

    assert [each.code for each in done] == [1, 1, 1]
    assert all(each.err.startswith(f"{said}, so it cannot be told which lines are ours.") for each in done)
    assert crontab.content == told.encode()
    assert not Entry.objects.exists()


def test_a_crontab_that_cannot_be_read_is_not_taken_for_none(
    crontab: Crontab, report: None, crons: Any, monkeypatch: Any
):
    """django-crontab replaces the whole crontab when crontab -l fails once."""
    crontab.content = FOREIGN
    monkeypatch.setenv("CRONTAB_REFUSAL", "crontabs/tester: Input/output error")
    monkeypatch.setenv("CRONTAB_REFUSED", "-l")

    done = crons("apply")

    assert done.code == 1
    assert "could not be read, and nothing was changed: crontab says: crontabs/tester: Input/output error" in done.err
    assert crontab.content == FOREIGN
    assert not Entry.objects.exists()


def test_a_crontab_that_cannot_be_written_leaves_no_trace(
    crontab: Crontab, report: None, crons: Any, monkeypatch: Any, tmp_path: Path
):
    """No audit event of what did not happen, and no backup that undo would go back to."""
    crontab.content = FOREIGN
    monkeypatch.setenv("CRONTAB_REFUSAL", "errors in crontab file, can't install.")
    monkeypatch.setenv("CRONTAB_REFUSED", "-")

    done = crons("apply")

    assert done.code == 1
    assert "could not be written, and nothing was changed: crontab says: errors in crontab file" in done.err
    assert crontab.content == FOREIGN
    assert not AuditEvent.objects.exists()
    assert list((tmp_path / "state").rglob("*.crontab")) == []


def test_cron_allow_is_explained(crontab: Crontab, report: None, crons: Any, monkeypatch: Any, tmp_path: Path):
    """The program says 'not allowed' and nothing of the file that says so."""
    monkeypatch.setattr("crons.targets.crond.ALLOW", tmp_path / "allow")
    (tmp_path / "allow").write_text("alice\n")
    monkeypatch.setattr("crons.targets.crontab.account", lambda: "bob")
    monkeypatch.setenv("CRONTAB_REFUSAL", "You (bob) are not allowed to use this program (crontab)")

    done = crons("plan")

    assert done.code == 1
    assert done.err.endswith(f"{tmp_path}/allow exists and does not name 'bob': root must add that line.\n")


def test_no_program_crontab_is_said_with_what_to_do(crontab: Crontab, report: None, crons: Any, monkeypatch: Any):
    """A slim container has none."""
    monkeypatch.setattr("crons.targets.crontab.shutil.which", lambda *args, **kwargs: None)

    done = crons("apply")

    assert done.code == 1
    assert done.err == (
        "there is no program crontab here: install cron (apt-get install cron), "
        "or use a scheduler of our own: manage.py crons serve\n"
    )


def test_changed_meanwhile_stops(crontab: Crontab, report: None, crons: Any):
    """Between the plan and the write somebody else may come."""
    target = CrontabTarget()
    plan = target.plan([])
    crontab.content = b"# new\n"

    with pytest.raises(TargetError, match="was changed since it was planned, so nothing was written"):
        target.apply(plan, "me")

    assert crontab.content == b"# new\n"
    assert not AuditEvent.objects.exists()


def test_what_is_read_back_must_be_what_was_written(crontab: Crontab, report: None, crons: Any, monkeypatch: Any):
    """The program has no way to write only if nothing changed, so a clash is at least seen."""
    monkeypatch.setenv("CRONTAB_MEDDLER", "# somebody else\n")

    done = crons("apply")

    assert done.code == 1
    assert done.err.startswith("the crontab, read back, is not what was written: somebody else changed it")
    assert not AuditEvent.objects.exists()


def test_a_state_directory_that_cannot_be_written_changes_nothing(
    crontab: Crontab, report: None, crons: Any, tmp_path: Path, settings: Any
):
    """No backup, no change; a read-only home is common for accounts of services."""
    crontab.content = FOREIGN
    (tmp_path / "file").touch()
    settings.CRONS = {**settings.CRONS, "STATE_DIR": str(tmp_path / "file" / "state"), "LOG_DIR": str(tmp_path)}

    done = crons("apply")

    assert done.code == 1
    assert done.err == (
        f"the state directory cannot be used: {tmp_path}/file/state: Not a directory. Backups of the crontab are "
        "kept there, so nothing was changed: make it writable for this account, or set CRONS['STATE_DIR'].\n"
    )
    assert crontab.content == FOREIGN


def test_backups_are_for_this_account_only(crontab: Crontab, report: None, crons: Any, tmp_path: Path):
    """Crontabs hold passwords more often than they should."""
    crontab.content = FOREIGN
    crons("apply")

    [kept] = (tmp_path / "state").rglob("*.crontab")

    assert kept.read_bytes() == FOREIGN
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_apply_and_undo_are_audited(crontab: Crontab, report: None, crons: Any):
    """Who may write the crontab runs code as this account."""
    crons("apply")
    crons("apply")
    crons("undo")

    events = AuditEvent.objects.order_by("pk").values_list("verb", "subject_type", "subject")

    assert list(events) == [("apply", "target", "crontab"), ("undo", "target", "crontab")]
    [applied, undone] = AuditEvent.objects.order_by("pk")
    assert applied.actor
    assert applied.before == {"lines": []}
    assert applied.after == {"lines": undone.before["lines"], "mode": "tick"}


def test_nothing_of_the_environment_is_copied(crontab: Crontab, report: None, crons: Any, monkeypatch: Any):
    """Crontabs are mailed, backed up and read aloud."""
    monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
    crons("apply", "--per-job")

    assert b"hunter2" not in (crontab.content or b"")


def test_paths_are_quoted_for_the_shell_and_for_cron(
    crontab: Crontab, report: None, crons: Any, tmp_path: Path, settings: Any
):
    """% ends a crontab command, a blank ends a word."""
    logs = tmp_path / "100% of it's logs"
    env = tmp_path / "my env"
    env.touch()
    settings.CRONS = {**settings.CRONS, "LOG_DIR": str(logs), "ENV_FILE": str(env)}

    crons("apply")

    [line] = lines_of(crontab)
    assert f"&& set -a && . '{env}' && set +a && DJANGO_SETTINGS_MODULE=" in line
    assert line.endswith(f""" >> '{tmp_path}/100\\% of it'"'"'s logs/tick.log' 2>&1""")


def test_a_path_that_cron_cannot_carry_is_refused(
    crontab: Crontab, report: None, crons: Any, tmp_path: Path, settings: Any
):
    """A newline would begin a line of its own: anything, as this account."""
    settings.CRONS = {**settings.CRONS, "LOG_DIR": f"{tmp_path}/a\n* * * * * evil"}

    done = crons("apply")

    assert done.code == 1
    assert "has a backslash or a control character" in done.err
    assert crontab.content is None


def test_a_line_longer_than_cron_takes_is_refused(crontab: Crontab, report: None, crons: Any, settings: Any):
    """Debian's crontab refuses the whole file for one such line."""
    settings.CRONS = {**settings.CRONS, "LOG_DIR": "/tmp/" + "x" * 1000}

    done = crons("apply")

    assert done.code == 1
    assert "and cron takes 998: install the project under a shorter path." in done.err


def test_a_copy_installs_nothing(crontab: Crontab, report: None, crons: Any, settings: Any):
    """A copy of production on a laptop must not put itself into the laptop's crontab."""
    crons("apply")
    before = crontab.content
    settings.CRONS = {**settings.CRONS, "IDENTITY": "laptop"}

    done = [crons("plan"), crons("apply"), crons("undo")]

    assert [each.code for each in done] == [1, 1, 1]
    assert all("belongs to another deployment" in each.err or "was adopted by another" in each.err for each in done)
    assert crontab.content == before


def test_json_is_one_object(crontab: Crontab, report: None, crons: Any):
    """A deployment's script reads whether it changed anything."""
    [planned] = map(json.loads, crons("plan", "--json").out.splitlines())
    [applied] = map(json.loads, crons("apply", "--json").out.splitlines())

    assert (planned["in_step"], planned["mode"], planned["found"]) == (False, "tick", [])
    assert planned["wanted"] == applied["wanted"]
    assert applied["backup"].endswith(".none")
    assert json.loads(crons("plan", "--json").out)["in_step"] is True


@given(foreign=st.one_of(st.none(), st.binary(max_size=200), st.text("\r\n\b\\rb#= *", max_size=40).map(str.encode)))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_others_wrote_comes_back_byte_for_byte(
    crontab: Crontab, report: None, crons: Any, foreign: bytes | None
):
    """The promise of this target."""
    crontab.content = foreign

    assert crons("apply").code == 0
    applied = crontab.content
    assert crons("undo").code == 0

    assert applied is not None
    assert applied.endswith(foreign or b"")
    assert crontab.content == foreign
