"""systemd as a target: only files with our mark, exactly, and back; and units that systemd itself accepts."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crons import cron, every, job
from crons.contrib.systemd import target, units
from crons.contrib.systemd.target import SystemdTarget
from crons.doctor import installed
from crons.doctor.findings import BAD, GOOD, Finding
from crons.jobs import Registry
from crons.models import AuditEvent, Entry
from tests.crons.cli.conftest import Said, call_crons

ROOT = Path(__file__).resolve().parents[3]
# Notes what it was told; fails at the verb in the file "refuses", and does not answer where that says "all".
SYSTEMCTL = """#!/bin/sh
[ "$1" = --no-ask-password ] && shift
refuses=$(cat {store}/refuses 2>/dev/null)
[ "$refuses" = all ] && exit 1
case "$*" in
    *show*) exit 0 ;;
    *is-active*) [ "$refuses" = active ] && exit 3; exit 0 ;;
esac
echo "$*" >> {store}/told
case "$refuses" in
    "") exit 0 ;;
    *) case "$*" in *"$refuses"*) echo "Failed to $refuses: no room" >&2; exit 1 ;; esac ;;
esac
"""


# What it shows has nothing to do with the database.
pytestmark = pytest.mark.sqlite


class Machine:
    """The account's units, and what its systemd was told."""

    def __init__(self, store: Path, home: Path) -> None:
        self.store = store
        self.folder = home / ".config" / "systemd" / "user"

    @property
    def files(self) -> dict[str, str]:
        """All unit files, by name without our prefix."""
        prefix = SystemdTarget().prefix
        return {path.name.removeprefix(prefix): path.read_text() for path in sorted(self.folder.glob("*"))}

    def told(self) -> list[str]:
        """What systemctl was told since the last look."""
        path = self.store / "told"
        lines = path.read_text().replace(SystemdTarget().prefix, "OURS").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def refuse(self, verb: str) -> None:
        """Have systemctl fail at *verb*; "all": nobody answers."""
        (self.store / "refuses").write_text(verb)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Machine:
    """A machine where a systemd answers, with a home and a state directory of the test's own."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL.format(store=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(target, "_home", lambda: tmp_path / "home")
    monkeypatch.setattr(target, "SYSTEM_UNITS", tmp_path / "etc")
    settings.CRONS = {"STATE_DIR": str(tmp_path / "state"), "IDENTITY": "shop"}
    settings.CRONJOBS = []
    return Machine(tmp_path, tmp_path / "home")


@pytest.fixture
def report(empty_registry: Registry) -> None:
    """One declared job, each day at 06:00."""

    @job(cron("0 6 * * *"))
    def report() -> None:
        """Nothing."""


@pytest.fixture
def crons(transactional_db: None) -> Callable[..., Said]:
    """Call `manage.py crons … --to systemd`."""

    def call(verb: str, *arguments: str) -> Said:
        return call_crons(verb, "--to", "systemd", *arguments)

    return call


def value(content: str, name: str) -> list[str]:
    """Return the values of *name* in a unit."""
    return re.findall(rf"^{name}=(.*)$", content, re.MULTILINE)


def test_apply_installs_a_tick_timer_and_its_service(machine: Machine, report: None, crons: Any) -> None:
    """One timer fires everything; systemd is told to know and to start it, and the rows are in step."""
    done = crons("apply")

    assert done.code == 0, done.err
    assert list(machine.files) == [".service", ".timer"]
    assert value(machine.files[".timer"], "OnCalendar") == ["*-*-* *:*:00 UTC"]
    assert value(machine.files[".timer"], "AccuracySec") == ["1s"]
    service = machine.files[".service"]
    assert value(service, "ExecStart") == [f"{sys.executable} {ROOT}/manage.py crons tick --while-busy"]
    assert value(service, "Environment") == ["DJANGO_SETTINGS_MODULE=tests.settings"]
    assert value(service, "WorkingDirectory") == [str(ROOT)]
    assert machine.told() == [
        "--user daemon-reload",
        "--user enable OURS.timer",
        "--user restart --no-block OURS.timer",
    ]
    assert [entry.name for entry in Entry.objects.all()] == ["report"]
    assert crons("plan").code == 0
    event = AuditEvent.objects.get(verb="apply")
    assert (event.subject, event.after["mode"]) == ("systemd", "tick")


def test_per_job_is_a_timer_an_entry_in_its_zone(machine: Machine, report: None, crons: Any) -> None:
    """A name's dash is not systemd's: the instance must be the entry's name again."""

    @job(every(minutes=5), name="clean-up")
    def clean_up() -> None:
        """Nothing."""

    done = crons("apply", "--per-job")

    assert done.code == 0, done.err
    assert list(machine.files) == ["-run@.service", "-run@clean\\x2dup.timer", "-run@report.timer"]
    assert value(machine.files["-run@clean\\x2dup.timer"], "OnCalendar") == ["*-*-* *:00/5:00 UTC"]
    assert value(machine.files["-run@report.timer"], "OnCalendar") == ["*-*-* 06:00:00 UTC"]
    assert value(machine.files["-run@report.timer"], "Persistent") == ["yes"]
    service = machine.files["-run@.service"]
    assert value(service, "ExecStart") == [f"{sys.executable} {ROOT}/manage.py crons run %I --scheduled"]
    assert crons("plan").code == 0, "what is installed keeps its mode"
    assert crons("plan", "--tick").code == 3


@pytest.mark.needs("systemd")
def test_what_systemd_does_otherwise_is_left_to_the_tick_timer(machine: Machine, report: None, crons: Any) -> None:
    """The plan says which entry and why; it fires all the same."""

    @job(cron("30 2 * * *", zone="Europe/Berlin"))
    def in_the_gap() -> None:
        """Nothing."""

    @job(cron("0 12 * * *"), overlap="allow")
    def beside_itself() -> None:
        """Nothing."""

    done = crons("apply", "--per-job")

    assert done.code == 0, done.err
    assert list(machine.files) == ["-run@.service", "-run@report.timer", ".service", ".timer"]
    assert re.search(
        r"^no timer for in_the_gap: '30 2 \* \* \*' in Europe/Berlin: "
        r"its zone changes its clock near such an hour, and systemd then leaves out what cron does not; "
        r"the tick timer fires it$",
        done.err,
        re.MULTILINE,
    )
    assert (
        "no timer for beside_itself: '0 12 * * *' in UTC: "
        "it may overlap itself, and systemd starts no service that runs already; the tick timer fires it\n" in done.err
    )


def test_serve_is_kept_alive(machine: Machine, report: None, crons: Any) -> None:
    """A scheduler that dies is brought back, however often; a stop gives its jobs their grace."""
    done = crons("apply", "--serve")

    assert done.code == 0, done.err
    service = machine.files[".service"]
    assert list(machine.files) == [".service"]
    assert value(service, "ExecStart") == [f"{sys.executable} {ROOT}/manage.py crons serve"]
    # Two leases and a minute: a look that the database does not answer is cut by itself before.
    given = {name: value(service, name) for name in ("Type", "NotifyAccess", "WatchdogSec")}
    assert given == {"Type": ["notify"], "NotifyAccess": ["main"], "WatchdogSec": ["180"]}
    assert (value(service, "Restart"), value(service, "StartLimitIntervalSec")) == (["always"], ["0"])
    assert (value(service, "KillMode"), value(service, "TimeoutStopSec")) == (["mixed"], ["50"])
    assert value(service, "WantedBy") == ["default.target"]
    assert machine.told()[1:] == ["--user enable OURS.service", "--user restart --no-block OURS.service"]


def test_another_mode_takes_the_old_units_away(machine: Machine, report: None, crons: Any) -> None:
    """A timer whose file is gone would fire until the next boot: it is stopped first."""
    crons("apply", "--per-job")
    machine.told()

    crons("apply", "--tick")

    assert list(machine.files) == [".service", ".timer"]
    assert machine.told() == [
        "--user disable --now --no-block OURS-run@report.timer",
        "--user daemon-reload",
        "--user enable OURS.timer",
        "--user restart --no-block OURS.timer",
    ]


def test_a_scheduler_that_a_timer_follows_is_stopped(machine: Machine, report: None, crons: Any) -> None:
    """Both have the same file: the scheduler would run on under the name of the tick, and be started at boot."""
    crons("apply", "--serve")
    machine.told()

    crons("apply", "--tick")

    assert machine.told() == [
        "--user disable --now --no-block OURS.service",
        "--user daemon-reload",
        "--user enable OURS.timer",
        "--user restart --no-block OURS.timer",
    ]


def test_units_of_others_and_drop_ins_stay(machine: Machine, report: None, crons: Any) -> None:
    """Another project's timers, and what an operator added to ours, are not ours to write."""
    machine.folder.mkdir(parents=True)
    (machine.folder / "backup.timer").write_text("[Timer]\nOnCalendar=daily\n")
    (machine.folder / "crons-0123456789abcdef.timer").write_text("# crons 0123456789abcdef mode=tick\n")
    drop_in = machine.folder / f"{SystemdTarget().prefix}.service.d" / "override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nNice=5\n")

    assert crons("apply").code == 0
    assert crons("undo", "--all").code == 0

    assert sorted(path.name for path in machine.folder.iterdir()) == [
        "backup.timer",
        "crons-0123456789abcdef.timer",
        drop_in.parent.name,
    ]
    assert drop_in.read_text() == "[Service]\nNice=5\n"
    assert not any("backup" in line or "0123456789abcdef" in line for line in machine.told())


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_of_our_name_without_our_mark_is_not_touched(
    machine: Machine, report: None, crons: Any, kind: str
) -> None:
    """Whoever put it there meant something; a link could lead anywhere. `systemctl mask` makes such a link."""
    machine.folder.mkdir(parents=True)
    path = machine.folder / f"{SystemdTarget().prefix}.timer"
    if kind == "file":
        path.write_text("[Timer]\n")
    else:
        path.symlink_to("/dev/null")

    done = crons("apply")

    assert done.code == 1
    assert f"{path} has a name of ours and does not begin with our mark, so it is not touched" in done.err
    assert path.is_symlink() if kind == "link" else path.read_text() == "[Timer]\n"
    assert machine.told() == []
    assert Entry.objects.count() == 0


def test_an_edited_unit_is_drift_and_apply_writes_it_anew(machine: Machine, report: None, crons: Any) -> None:
    """The plan shows the edit before it is overwritten, and the backup keeps it."""
    crons("apply")
    path = machine.folder / f"{SystemdTarget().prefix}.timer"
    path.write_text(path.read_text().replace("*:*:00", "*:0/5:00"))

    planned = crons("plan")
    crons("apply")

    assert planned.code == 3
    assert f"our part in the set of systemd units is not as it was written: edited by hand: {path.name}." in planned.err
    assert "OnCalendar=*-*-* *:*:00 UTC\n" in path.read_text()
    assert crons("undo").code == 0
    assert "OnCalendar=*-*-* *:0/5:00 UTC\n" in path.read_text()


def test_undo_goes_back_step_by_step_to_nothing(machine: Machine, report: None, crons: Any) -> None:
    """As with a crontab: one apply each, then there is nothing more to undo."""
    crons("apply")
    crons("apply", "--serve")

    assert crons("undo").code == 0
    assert list(machine.files) == [".service", ".timer"]
    assert crons("undo").code == 0
    assert machine.files == {}
    done = crons("undo")

    assert done.code == 1
    assert "nothing to undo: no backup in" in done.err
    assert machine.told()[-2:] == ["--user disable --now --no-block OURS.timer", "--user daemon-reload"]


def test_a_systemd_that_refuses_leaves_all_as_it_was(machine: Machine, report: None, crons: Any) -> None:
    """Files that nobody starts would look installed."""
    machine.refuse("enable")

    done = crons("apply")

    assert done.code == 1
    assert "Failed to enable: no room. The units were put back as they were." in done.err
    assert machine.files == {}
    assert AuditEvent.objects.count() == 0
    assert "nothing to undo" in crons("undo").err


def test_without_systemd_the_files_are_written_and_the_rest_is_said(machine: Machine, report: None, crons: Any) -> None:
    """An image is built where no systemd runs."""
    machine.refuse("all")

    done = crons("apply")

    assert done.code == 0
    assert list(machine.files) == [".service", ".timer"]
    assert (
        "note: no systemd answers here, so apply writes the files only. Where one runs, type: "
        "systemctl --user daemon-reload && systemctl --user enable --now "
        f"{SystemdTarget().prefix}.timer\n" in done.err
    )


def test_another_database_of_the_same_identity_is_refused(
    machine: Machine, report: None, crons: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two projects that share a name would rewrite each other's units each deploy."""
    crons("apply")
    monkeypatch.setattr("crons.ledger.deployment._place", lambda: ("elsewhere", ["elsewhere"]))

    done = crons("plan")

    assert done.code == 1
    assert "is of 'shop' for another database: two projects with one CRONS['IDENTITY']?" in done.err
    assert crons("plan", "--take-over").code == 3


def test_options_of_other_targets_are_refused(machine: Machine, report: None, crons: Any) -> None:
    """Passed over in silence, they would be believed."""
    assert "--system is not for --to crontab" in call_crons("plan", "--to", "crontab", "--system").err
    assert "--serve is not for --to crontab: expected --tick or --per-job." in call_crons("plan", "--serve").err
    assert "--account goes with --system" in crons("plan", "--account", "nobody").err


@pytest.mark.parametrize("content", [json.dumps({"../../../bashrc": "evil"}), '{"half', '["list"]'])
def test_a_backup_that_is_not_what_was_written_is_refused(
    machine: Machine, report: None, crons: Any, content: str
) -> None:
    """Undo writes what a backup says, so it must not say just anything."""
    crons("apply")
    crons("apply", "--serve")
    (kept,) = (machine.store / "state").glob("systemd-user-*/*.units")
    kept.write_text(content)

    done = crons("undo")

    assert done.code == 1
    assert "the backup is not what was written, so nothing was changed" in done.err
    assert list(machine.files) == [".service"]


def test_system_units_run_as_the_named_account(
    machine: Machine, report: None, crons: Any, settings: Any, tmp_path: Path
) -> None:
    """Jobs as root would be a gift to whoever can write the code."""
    (tmp_path / "etc").mkdir()
    env_file = tmp_path / "shop env"
    env_file.write_text("export A=1\nB=$HOME\n")
    env_file.chmod(0o644)
    settings.CRONS = {**settings.CRONS, "ENV_FILE": str(env_file), "LOG_DIR": str(tmp_path / "100%")}
    name = pwd.getpwuid(os.getuid()).pw_name

    done = crons("apply", "--system", "--account", name, "--serve")

    assert done.code == 0, done.err
    (path,) = (tmp_path / "etc").iterdir()
    content = path.read_text()
    assert value(content, "User") == [name]
    assert value(content, "EnvironmentFile") == [str(env_file)]
    assert value(content, "ReadWritePaths")[-1] == f"-{tmp_path}/100%%"
    assert value(content, "PrivateTmp") == ["no"], "or the log would be in a /tmp that nobody else sees"
    assert value(content, "WantedBy") == ["multi-user.target"]
    assert [line for line in machine.told() if "--user" in line] == []
    assert f"{env_file}, is open to other accounts: chmod 600 {env_file}" in done.err
    assert "has lines with export, which systemd passes over" in done.err
    assert "has $ or `: a shell fills those in" in done.err
    assert "there is no account 'nemo'" in crons("plan", "--system", "--account", "nemo").err


@pytest.mark.parametrize("name", ["report", "crm.cron.log", "clean-up", ".hidden", "a:b_c", "x@y z%\\é"])
def test_an_escaped_name_is_what_systemd_escapes(name: str) -> None:
    """%I must be the entry's name again, or `crons run` knows nobody of it."""
    instance = units.escaped(name)

    back = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), instance.encode()).decode()
    assert back == name
    if program := shutil.which("systemd-escape"):
        assert subprocess.run([program, name], capture_output=True, text=True).stdout == f"{instance}\n"


@pytest.mark.needs("systemd")
@pytest.mark.parametrize("mode", ["--tick", "--per-job", "--serve"])
@pytest.mark.parametrize("where", ["user", "system"])
def test_systemd_finds_nothing_wrong_with_the_units(
    machine: Machine, report: None, crons: Any, tmp_path: Path, mode: str, where: str
) -> None:
    """Each line is read by systemd itself; machine's services are closed as far as jobs allow."""
    (tmp_path / "etc").mkdir()
    arguments = ["--system", "--account", "daemon"] if where == "system" else []
    assert crons("apply", mode, *arguments).code == 0
    files = sorted((tmp_path / "etc" if where == "system" else machine.folder).iterdir())
    # A template is verified as one of its instances.
    named = [path for path in files if "@." not in path.name]
    shown = shlex.join(map(str, named))

    verified = subprocess.run(["systemd-analyze", "verify", *map(str, named)], capture_output=True, text=True)
    assert (verified.returncode, verified.stderr) == (0, ""), shown

    if where == "system":
        services = [path for path in files if path.suffix == ".service"]
        for path in services:
            told = exposure(path)
            assert told <= 2.0, path.name


def exposure(path: Path) -> float:
    """Return what `systemd-analyze security` makes of a service, from 0 (closed) to 10."""
    plain = path.with_name(path.name.replace("@.", "@x."))
    if plain != path:
        shutil.copy(path, plain)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(plain)]
    said = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", said.stdout)
    assert found is not None, said.stdout + said.stderr
    return float(found[1])


@pytest.mark.needs("systemd")
def test_odd_paths_reach_systemd_as_they_are(tmp_path: Path) -> None:
    """systemd has blanks, quotes, % and $ of its own; it says so when a program is not where it reads it to be."""
    odd = tmp_path / "a b%h$HOME;#é"
    odd.mkdir()
    program = odd / "python"
    program.symlink_to(sys.executable)
    (odd / "env").touch()
    command = units.Command(str(odd), [str(program)], "daemon", {"A": "x y%$"}, str(odd / "env"), [str(odd)], 50, 180)
    path = tmp_path / "odd.service"
    path.write_text("\n".join(command.service("Odd %n\nExecStart=/bin/evil", "crons", "serve", stays=True)) + "\n")

    verified = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
    program.unlink()
    missing = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)

    assert (verified.returncode, verified.stderr) == (0, "")
    assert f"Command {program} is not executable" in missing.stderr
    assert len(re.findall(r"^ExecStart=", path.read_text(), re.MULTILINE)) == 1


def test_an_interpreter_that_systemd_cannot_start_is_refused(
    machine: Machine, report: None, crons: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit would be there, and fail at each start."""
    monkeypatch.setattr(sys, "executable", "/srv/it's/python")

    done = crons("apply")

    assert done.code == 1
    assert "the path /srv/it's/python has a quote, and systemd starts no program of such a name" in done.err
    assert machine.folder.exists() is False


def test_doctor_sees_units_that_fire_and_units_that_do_not(machine: Machine, report: None, crons: Any) -> None:
    """Who fires by systemd needs no line in a crontab; a timer that somebody stopped fires nothing."""
    crons("apply")
    name = f"{SystemdTarget().prefix}.timer"

    good = list(installed.examine(None))
    machine.refuse("active")
    bad = list(installed.examine(None))

    assert good[0] == Finding("systemd", GOOD, f"our units run in systemd of this account: {name}")
    assert [finding.what for finding in good if finding.what == "triggers"] == []
    assert bad[0] == Finding(
        "systemd",
        BAD,
        f"installed in systemd of this account and not running: {name}",
        "running units",
        "manage.py crons plan --to systemd says what to type.",
    )
    assert [finding.level for finding in bad if finding.what == "triggers"] == [BAD]
    assert f"not running: {name}; type: systemctl --user start {name}" in crons("plan").err
