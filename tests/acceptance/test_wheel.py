"""The wheel in the hands of a newcomer: an empty folder, a fresh environment, five lines."""

from __future__ import annotations

import email
import json
import os
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 300
LOOK_SECONDS = 0.1
# What a newcomer's machine would not have: this run's own settings.
OURS = ("DJANGO_", "CRM_", "CRONS_", "DATABASE_URL", "PYTHONPATH", "VIRTUAL_ENV")
CRON = """\
from datetime import timedelta
from crons import every, job

@job(every(timedelta(seconds=10)))
def count_stock():
    print("12 products, all there")
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: builds leave folders behind."""
    place = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(
        ".git", ".venv*", "var", "build", "dist", "*.egg-info", ".*_cache", ".hypothesis", "__pycache__"
    )
    shutil.copytree(ROOT, place / "source", ignore=left_out)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, place / "source"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    [built] = place.glob("*.whl")
    return built


def test_wheel_holds_crons_and_nothing_else(wheel: Path) -> None:
    """Neither the CRM nor the tests belong into somebody's site-packages."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        described = email.message_from_bytes(archive.read(metadata))

    assert {name.split("/")[0] for name in names} == {"crons", metadata.split("/")[0]}
    in_tree = {str(path.relative_to(ROOT)) for path in (ROOT / "crons").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == in_tree
    pages = [path for kind in ("templates", "static") for path in (ROOT / "crons" / kind).rglob("*") if path.is_file()]
    assert pages
    assert {str(path.relative_to(ROOT)) for path in pages} <= set(names)
    assert "crons/py.typed" in names
    required = [each for each in described.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert sorted(required) == ["Django>=5.2"]


class Newcomer:
    """A person with an empty folder, a fresh virtual environment and the README."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.bin = folder.parent / "venv" / "bin"
        self.run(sys.executable, "-m", "venv", self.bin.parent)
        pinned = [f"{name}=={version(name)}" for name in ("Django",)]
        self.run(self.bin / "python", "-m", "pip", "install", "--quiet", wheel, *pinned)

    def run(self, *command: str | Path) -> str:
        """Run *command* in the folder to its good end; return what it printed."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def manage(self, *arguments: str) -> str:
        """Call manage.py."""
        return self.run(self.bin / "python", "manage.py", *arguments)

    def serve(self) -> subprocess.Popen[str]:
        """Start the scheduler."""
        return subprocess.Popen(
            [self.bin / "python", "manage.py", "crons", "serve"], cwd=self.folder, env=self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def verdicts(self) -> list[str]:
        """Read the verdicts that stand in the database."""
        with closing(sqlite3.connect(f"file:{self.folder / 'db.sqlite3'}?mode=ro", uri=True, timeout=30)) as database:
            return [verdict for (verdict,) in database.execute("SELECT verdict FROM crons_run WHERE verdict <> ''")]


@pytest.fixture
def newcomer(tmp_path: Path, wheel: Path) -> Newcomer:
    """Somebody who has installed the wheel and started a project."""
    (tmp_path / "folder").mkdir()
    person = Newcomer(tmp_path / "folder", wheel)
    person.run(person.bin / "django-admin", "startproject", "mysite", ".")
    return person


def test_wheel_tells_pytest_of_the_plugin(wheel: Path) -> None:
    """Named like its module: a project that names it in pytest_plugins too must not load it twice."""
    with zipfile.ZipFile(wheel) as archive:
        [path] = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        text = archive.read(path).decode()

    assert text.split() == ["[pytest11]", "crons.pytest_plugin", "=", "crons.pytest_plugin"]


def test_newcomer_sees_verdicts_after_five_lines(newcomer: Newcomer) -> None:
    """The project's own package is no installed app, and yet where the first job is written; rich is not there."""
    settings = newcomer.folder / "mysite" / "settings.py"
    settings.write_text(settings.read_text().replace("INSTALLED_APPS = [", 'INSTALLED_APPS = [\n    "crons",'))
    (newcomer.folder / "mysite" / "cron.py").write_text(CRON)

    newcomer.manage("check")
    newcomer.manage("migrate")
    process = newcomer.serve()
    try:
        wait_for_verdicts(newcomer, process, 2)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=PATIENCE_SECONDS)[0]
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 0, told
    rows = [json.loads(line) for line in newcomer.manage("crons", "history", "--json").splitlines()]
    assert [row["entry"] for row in rows] == ["count_stock"] * len(rows)
    assert [row["verdict"] for row in rows] == ["succeeded"] * len(rows)
    assert len(rows) >= 2
    assert newcomer.manage("crons", "log", str(rows[0]["id"])).strip().endswith("12 products, all there")
    [header, first, brought_along] = newcomer.manage("crons", "list").splitlines()
    assert header.split() == ["name", "schedule", "next", "slot", "last", "verdict", "state"]
    assert first.startswith("count_stock ")
    assert brought_along.startswith("crons.prune ")
    assert '"rich"' not in newcomer.run(newcomer.bin / "python", "-m", "pip", "list", "--format=json")


def wait_for_verdicts(newcomer: Newcomer, process: subprocess.Popen[str], count: int) -> None:
    """Look at the database now and then; at once when the scheduler ends."""
    ended = select.poll()
    ended.register(os.pidfd_open(process.pid), select.POLLIN)
    until = time.monotonic() + PATIENCE_SECONDS
    while len(newcomer.verdicts()) < count:
        if ended.poll(LOOK_SECONDS * 1000) or time.monotonic() > until:
            process.kill()
            pytest.fail(f"only {newcomer.verdicts()}: {process.communicate()[0]}")
