"""What docs/howto/logs.md shows is what /bin/sh does, and what it says of the triggers is what they do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "logs.md"
BLOCKS = re.findall(r"^```\n(\$ .*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][2:40])
def test_a_block_does_what_it_shows(block: str, tmp_path: Path):
    """A redirect that is copied from here into a crontab loses nothing."""
    commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    expected, printed = [], []

    for command in commands:
        line, _, output = command.partition("\n")
        done = subprocess.run(
            ["/bin/sh", "-c", line], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, check=False, env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        expected.append((line, output))
        printed.append((line, done.stdout))

    assert printed == expected


def test_there_are_blocks():
    """A fence that is written otherwise would leave the test above without work."""
    assert len(BLOCKS) == 10


def test_a_tick_with_nothing_to_do_says_nothing(own_database):
    """Cron would mail it each minute."""
    own_database.migrate()

    done = own_database.manage("crons", "tick")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


JOB = """
import subprocess, sys
from crons import job

@job()
def talk():
    print("done", flush=True)
    subprocess.run(["sh", "-c", "echo from a program; echo trouble >&2"])
"""
SETTINGS = """
from pathlib import Path
SECRET_KEY, USE_TZ, INSTALLED_APPS = "only for a test", True, ["crons"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("shop.sqlite3")}}
"""


def test_run_passes_the_output_of_its_job_through(tmp_path):
    """A redirect on the line goes on working when the line enters the ledger, which keeps it besides."""
    shop = tmp_path / "shop"
    shop.mkdir()
    for name, text in {"__init__": "", "settings": SETTINGS, "cron": JOB}.items():
        (shop / f"{name}.py").write_text(text)
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}

    def manage(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments], env=env, cwd=tmp_path, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=True,
        )  # fmt: skip

    manage("migrate", "--verbosity=0")
    manage("crons", "sync")
    done = manage("crons", "run", "talk", "--manual")

    assert (done.stdout, done.stderr) == ("done\nfrom a program\n", "trouble\n")
    assert manage("crons", "log", "1", "--stream", "stderr").stdout == "trouble\n"
