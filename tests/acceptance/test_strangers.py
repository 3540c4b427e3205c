"""Projects that had a `cron.py` before they had crons: what it does when it is imported harms nobody else.

Each of the modules here is what a public project does.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
from datetime import timedelta
from pathlib import Path
SECRET_KEY = "only-for-tests"
DEBUG = True
USE_TZ = True
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.auth", "crons",
    "sets_up", "deletes", "loops", "catches", "exits", "threads", "well",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent.parent / "db.sqlite3"}}
CRONS = {"IMPORT_LIMIT": timedelta(seconds=2), "PRUNE": ""}
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
execute_from_command_line(sys.argv)
"""
TRACE = "open({folder!r} + '/imported', 'a').write(__name__ + ' ')\n"
MODULES = {
    "sets_up": "import django\ndjango.setup()\n",
    "deletes": "from django.contrib.auth.models import User\nUser.objects.all().delete()\n",
    "loops": "class Cron:\n    while True:\n        pass\n",
    "catches": "while True:\n    try:\n        while True:\n            pass\n    except Exception:\n        pass\n",
    "exits": "import sys\nsys.exit(3)\n",
    "threads": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    "well": "from crons import cron, job\n\n\n@job(cron('@daily'))\ndef tidy():\n    pass\n",
}
NIGHTLY = """
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
class Command(BaseCommand):
    def handle(self, *args, **options):
        User.objects.get_or_create(username="ann")
        print("nightly work done")
"""
RUNSERVER = """
import sys
from django.core.management import call_command
from django.core.management.commands import runserver
runserver.run = lambda *args, **options: print("serving")
call_command("runserver", "--noreload", "127.0.0.1:8000")
"""


class Project:
    """A project in a folder of its own, driven by its manage.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write(folder / "manage.py", MANAGE)
        write(folder / "mysite" / "settings.py", SETTINGS)
        write(folder / "mysite" / "urls.py", "urlpatterns = []\n")
        for name, text in MODULES.items():
            write(folder / name / "cron.py", TRACE.format(folder=str(folder)) + text)
        write(folder / "well" / "management" / "commands" / "nightly.py", NIGHTLY)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("manage.py", *arguments)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "mysite.settings"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def imported(self) -> set[str]:
        """Name the `cron` modules that were imported by now."""
        trace = self.folder / "imported"
        return {name.removesuffix(".cron") for name in trace.read_text().split()} if trace.exists() else set()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_what_needs_no_job_imports_no_cron_module(project):
    """A module that loops for ever, or deletes rows, must not do that in each process of the project."""
    commands = [
        project.manage("migrate"),
        project.manage("nightly"),
        project.manage("shell", "-c", "print('in the shell')"),
        project.python("-c", "import django; django.setup()" + RUNSERVER),
    ]

    assert [(done.returncode, done.stderr) for done in commands] == [(0, "")] * 4
    assert [done.stdout.splitlines()[-1] for done in commands[1:]] == ["nightly work done", "in the shell", "serving"]
    assert project.imported() == set()


def test_check_names_the_modules_that_fail_and_ends(project):
    """It imports them, each for so long only, and lets none write; nobody but a person reads its warnings."""
    project.manage("migrate")
    project.manage("nightly")

    done = project.manage("check")

    assert done.returncode == 0, done.stderr
    assert project.imported() == set(MODULES)
    warned = {line.split()[2] for line in done.stderr.splitlines() if line.startswith("?: (crons.W070) ")}
    assert {"loops.cron", "catches.cron", "exits.cron", "deletes.cron"} == warned
    for module, why in {
        "loops": f"its import took longer than 2 s and was stopped ({project.folder}/loops/cron.py, line ",
        "catches": "its import took longer than 2 s and was stopped (",
        "exits": f"it calls sys.exit(3) when it is imported ({project.folder}/exits/cron.py, line 3)",
        "deletes": "DeclarationError: it writes to the database when it is imported (DELETE …)",
    }.items():
        assert f"{module}.cron cannot be imported: {why}" in done.stderr
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as connection:
        assert connection.execute("SELECT username FROM auth_user").fetchall() == [("ann",)]


def test_serve_and_sync_refuse_where_modules_fail_until_told_which_declare(project):
    """Half of what is declared would be taken for all; a script that nobody may touch is left out by a setting."""
    write(project.folder / "well" / "extra.py", MODULES["well"].replace("tidy", "sweep"))
    for stranger in ("loops", "catches", "deletes", "sets_up"):  # nothing limits an import there
        write(project.folder / stranger / "cron.py", "")
    project.manage("migrate")

    refused = [project.manage("crons", verb) for verb in ("sync", "serve")]
    with (project.folder / "mysite" / "settings.py").open("a") as file:
        file.write("CRONS |= {'DISCOVER': False, 'MODULES': ['well.cron', 'well.extra']}\n")
    done = project.manage("crons", "sync")

    assert [each.returncode for each in refused] == [1, 1]
    for each in refused:
        assert "(crons.E015) exits.cron cannot be imported: it calls sys.exit(3) when it is imported" in each.stderr
    assert (done.returncode, done.stdout) == (0, "created  tidy\ncreated  sweep\n2 declared, 0 unchanged.\n")
