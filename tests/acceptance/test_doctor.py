"""`crons doctor` on an installation: what works in a shell and fails under cron is named, with its remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation

FAKE = Path(__file__).resolve().parents[1] / "crons" / "fake_crontab.py"
ENDING = """
CRONS["STATE_DIR"] = VAR_DIR / "state"
MUST_HAVE = environment.text("SHOP_TOKEN", "none")
"""
JOBS = """
from crons import shell

shell(["/nowhere/backup"], name="missing_program")
"""
NEEDY = """
import os
import subprocess

@job(cron("0 6 * * *"))
def dump():
    os.environ["SHOP_KEY"]
    subprocess.run(["shop-dump", "--all"], check=True)
"""


class Machine:
    """An installation, a crontab of its own, and a shell with its own variables."""

    def __init__(self, folder: Path) -> None:
        self.installed = Installation.make(folder / "crm")
        self.settings = self.installed.place / "crm" / "settings.py"
        with self.settings.open("a") as file:
            file.write(ENDING)
        program = folder / "bin" / "crontab"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {FAKE} "$@"\n')
        program.chmod(0o755)
        self.env = {"PATH": f"{program.parent}:/usr/bin:/bin", "CRONTAB_STORE": str(folder / "store")}
        self.crons("sync")

    def crons(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py crons …`."""
        python, manage_py = self.installed.place / ".venv/bin/python", self.installed.place / "manage.py"
        return subprocess.run(
            [str(python), str(manage_py), "crons", *words],
            env={**self.env, **env},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def findings(self, *words: str, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Ask the doctor; return its exit code and its findings by what they are about."""
        done = self.crons("doctor", *words, "--json", **env)
        assert done.stderr == ""
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode, {row.get("what", row["model"]): row for row in rows}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A synced CRM whose environment stands in var/crm.env."""
    return Machine(tmp_path)


def test_with_nothing_that_fires_it_says_so_and_apply_mends_it(machine: Machine):
    """The most frequent cause of all: nobody looks at the clock."""
    before, found = machine.findings()
    machine.crons("apply")
    after = machine.findings()[1]

    assert before == 1
    assert [what for what, row in found.items() if row["level"] == "bad"] == ["triggers"]
    assert found["triggers"]["found"].endswith("no line here calls this project: nothing will fire")
    assert found["triggers"]["do"].startswith("manage.py crons apply, or start manage.py crons serve.")
    assert found["start"]["level"] == found["database"]["level"] == found["clock"]["level"] == "good"
    assert "triggers" not in after
    assert after["crontab"]["found"] == "our lines are installed (tick)"


def test_a_variable_that_only_the_shell_has_is_named_and_not_shown(machine: Machine):
    """Works by hand, fails at night; and a terminal's scrollback is no place for a secret."""
    done = machine.crons("doctor", SHOP_TOKEN="hunter2", UNREAD="x")

    assert done.returncode == 1
    assert (
        "BAD   variable SHOP_TOKEN: the settings read it, and cron has none; expected what this shell has\n"
        "      do: Put it into the file that CRONS['ENV_FILE'] names, or into one that the settings read.\n"
    ) in done.stdout
    assert done.stdout.endswith("\n2 wrong: mend the first, then ask again.\n")  # and no trigger
    assert "hunter2" not in done.stdout + done.stderr
    assert "UNREAD" not in done.stdout


def test_another_database_under_cron_is_found(machine: Machine, tmp_path: Path):
    """The jobs run, in a database that nobody looks at."""
    other = tmp_path / "other.sqlite3"
    code, found = machine.findings(DATABASE_URL=f"sqlite:///{other}")

    assert code == 1
    assert found["database"]["level"] == "bad"
    assert f"leads to the file {machine.installed.database} on " in found["database"]["found"]
    assert str(other) in found["database"]["expected"]


def test_settings_that_need_a_variable_stop_the_start(machine: Machine):
    """The traceback is in a mail that nobody gets."""
    with machine.settings.open("a") as file:
        file.write('MUST_HAVE = os.environ["SHOP_TOKEN"]\n')
    code, found = machine.findings(SHOP_TOKEN="x")

    assert code == 1
    assert found["variable SHOP_TOKEN"]["found"] == "the settings read it, and cron has none"
    assert found["start"]["found"] == "in cron's environment it stops at settings (exit 1): KeyError: 'SHOP_TOKEN'"
    assert found["start"]["do"].startswith("See it all: env -i HOME=")


def test_cron_module_that_fails_without_a_variable_is_named(machine: Machine):
    """The start comes to its end all the same, and none of its jobs would ever begin."""
    place = machine.installed.place
    with (place / "crm" / "cron.py").open("a") as file:
        file.write('import os\nos.environ["SHOP_TOKEN"]\n')
    code, found = machine.findings(SHOP_TOKEN="x")

    assert code == 1
    assert found["start"]["level"] == "good"
    assert found["declarations"]["found"].startswith(
        f"crm.cron fails in cron's environment: KeyError: 'SHOP_TOKEN' ({place}/crm/cron.py, line "
    )
    assert found["declarations"]["do"] == (
        "Mend it; what it reads of the environment belongs into the settings, or into CRONS['ENV_FILE']."
    )


@pytest.mark.slow
def test_an_env_file_is_read_as_the_line_reads_it(machine: Machine, tmp_path: Path):
    """The remedy that the doctor names is the remedy."""
    (tmp_path / "env").write_text("SHOP_TOKEN='a b'\n")
    with machine.settings.open("a") as file:
        file.write(f'CRONS |= {{"ENV_FILE": {str(tmp_path / "env")!r}}}\n')
    machine.crons("apply")

    assert "variable SHOP_TOKEN" not in machine.findings(SHOP_TOKEN="a b")[1]
    assert machine.findings(SHOP_TOKEN="b")[1]["variable SHOP_TOKEN"]["found"] == (
        "the settings read another value there"
    )


def test_a_job_that_is_named_is_run_as_cron_would(machine: Machine):
    """The proof, where a look is not enough."""
    code, found = machine.findings("log_crm_heartbeat", "--run")

    assert code == 1  # nothing fires it
    assert found["run"]["exit_code"] == 0
    [line] = machine.installed.lines("log/crm_heartbeat_log.txt")
    assert line.endswith(" CRM is alive")
    assert machine.installed.rows("SELECT kind, verdict FROM crons_run") == [("manual", "succeeded")]


@pytest.mark.slow
def test_what_a_job_lacks_only_under_cron_is_named_and_the_remedy_mends_it(machine: Machine, tmp_path: Path):
    """It works in each shell that anybody tries it in."""
    program = tmp_path / "bin" / "shop-dump"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    with (machine.installed.place / "crm" / "cron.py").open("a") as file:
        file.write(NEEDY)
    machine.crons("sync")
    machine.crons("apply")
    lacks_variable = machine.findings("dump", "--run", SHOP_KEY="hunter2")[1]
    (tmp_path / "env").write_text("SHOP_KEY=x\n")
    with machine.settings.open("a") as file:
        file.write(f'CRONS |= {{"ENV_FILE": {str(tmp_path / "env")!r}}}\n')
    lacks_program = machine.findings("dump", "--run", SHOP_KEY="hunter2")[1]
    (tmp_path / "env").write_text(f"SHOP_KEY=x\nPATH={program.parent}:/usr/bin:/bin\n")
    mended = machine.findings("dump", "--run", SHOP_KEY="hunter2")[1]

    assert lacks_variable["variable SHOP_KEY"]["found"] == "the run asks for it, and cron has none"
    assert lacks_variable["variable SHOP_KEY"]["do"].startswith("Put it into the file that CRONS['ENV_FILE'] names")
    assert lacks_variable["run of dump"]["found"] == "it ended with exit code 1 in cron's environment"
    assert "hunter2" not in json.dumps(lacks_variable)
    assert "variable SHOP_KEY" not in lacks_program
    assert lacks_program["program shop-dump"]["found"] == (
        f"shop-dump is {program} in this shell, and not on cron's PATH=/usr/bin:/bin"
    )
    assert f"put PATH={program.parent}:/usr/bin:/bin into CRONS['ENV_FILE']" in lacks_program["program shop-dump"]["do"]
    assert "program shop-dump" not in mended
    assert mended["run of dump"]["level"] == "good"


def test_a_look_runs_nothing(machine: Machine):
    """It must be safe to ask at any time."""
    machine.findings("log_crm_heartbeat")

    assert machine.installed.lines("log/crm_heartbeat_log.txt") == []
    assert machine.installed.rows("SELECT count(*) FROM crons_run") == [(0,)]
    assert machine.installed.rows("SELECT count(*) FROM crons_deployment") == [(1,)]


@pytest.mark.slow
def test_programs_that_are_not_there_are_named(machine: Machine):
    """/bin/sh says 'not found' to nobody."""
    with (machine.installed.place / "crm" / "cron.py").open("a") as file:
        file.write(JOBS)
    found = machine.findings()[1]

    assert found["program of missing_program"]["found"] == ("/nowhere/backup is not there, or not executable")
    assert "program of missing_program" not in machine.findings("log_crm_heartbeat")[1]


def test_an_unknown_name_is_answered_with_the_nearest(machine: Machine):
    """A name that is mistyped must not look healthy."""
    done = machine.crons("doctor", "log_crm_heartbeet")

    assert done.returncode == 1
    assert "Did you mean 'log_crm_heartbeat'?" in done.stderr
    assert done.stdout == ""
