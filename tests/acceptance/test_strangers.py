"""Projects that had a `cron.py` before they had crons: what it does when it is imported harms nobody else.

Each of the modules here is what a public project does.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
from pathlib import Path
SECRET_KEY = "only-for-tests"
DEBUG = True
USE_TZ = True
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.auth", "crons",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent.parent / "db.sqlite3"}}
CRONS = {"KEEP": None}
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
    # It waits, as for an answer of the network; the one above computes.
    "catches": (
        "import time\nwhile True:\n    try:\n        while True:\n            time.sleep(0.01)\n"
        "    except Exception:\n        pass\n"
    ),
    "exits": "import sys\nsys.exit(3)\n",
    "quits": "import os\nif os.fork() == 0:\n    os._exit(0)\nos.wait()\nos._exit(0)\n",
    "threads": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    "well": "from crons import cron, job\n\n\n@job(cron('@daily'))\ndef tidy():\n    pass\n",
}
NIGHTLY = """
import sys
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
class Command(BaseCommand):
    def handle(self, *args, **options):
        User.objects.get_or_create(username="ann")
        print(*sorted({"crons.api", "crons.dispatch", "crons.watch", "crons.sources.built_in"} & set(sys.modules)))
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

    def __init__(self, folder: Path, apps: Iterable[str]) -> None:
        self.folder = folder
        write(folder / "manage.py", MANAGE)
        write(folder / "mysite" / "settings.py", SETTINGS + f"INSTALLED_APPS += {list(apps)!r}\n")
        write(folder / "mysite" / "urls.py", "urlpatterns = []\n")

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
    """One with all of these modules, and a command of its own."""
    for name, text in MODULES.items():
        write(tmp_path / name / "cron.py", TRACE.format(folder=str(tmp_path)) + text)
    write(tmp_path / "well" / "management" / "commands" / "nightly.py", NIGHTLY)
    return Project(tmp_path, MODULES)


def test_what_needs_no_job_imports_no_cron_module(project):
    """A module that loops for ever, or deletes rows, must not do that in each process of the project."""
    commands = [
        project.manage("migrate"),
        project.manage("nightly"),
        project.manage("shell", "-c", "print('in the shell')"),
        project.python("-c", "import django; django.setup()" + RUNSERVER),
    ]

    assert [(done.returncode, done.stderr) for done in commands] == [(0, "")] * 4
    assert commands[1].stdout == "\nnightly work done\n"  # what runs jobs is not imported either
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
    assert {"loops.cron", "catches.cron", "exits.cron", "quits.cron", "deletes.cron"} == warned
    for module, why in {
        "loops": f"its import took longer than 10 s and was stopped ({project.folder}/loops/cron.py, line ",
        "catches": "its import took longer than 10 s and was stopped (",
        "exits": f"it calls sys.exit(3) when it is imported ({project.folder}/exits/cron.py, line 3)",
        "quits": f"it calls os._exit(0) when it is imported ({project.folder}/quits/cron.py, line 6)",
        "deletes": "DeclarationError: it writes to the database when it is imported (DELETE …)",
    }.items():
        assert f"{module}.cron cannot be imported: {why}" in done.stderr
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as connection:
        assert connection.execute("SELECT username FROM auth_user").fetchall() == [("ann",)]


def test_serve_and_sync_refuse_where_modules_fail_until_told_which_declare(project):
    """Half of what is declared would be taken for all; a script that nobody may touch is left out by a setting."""
    write(project.folder / "well" / "extra.py", MODULES["well"].replace("tidy", "sweep"))
    for stranger in ("loops", "catches", "sets_up"):  # nothing limits an import there
        write(project.folder / stranger / "cron.py", "")
    project.manage("migrate")
    project.manage("nightly")

    refused = [project.manage("crons", verb) for verb in ("sync", "serve")]
    with (project.folder / "mysite" / "settings.py").open("a") as file:
        file.write("CRONS |= {'DISCOVER': False, 'MODULES': ['well.cron', 'well.extra']}\n")
    done = project.manage("crons", "sync")

    assert [each.returncode for each in refused] == [1, 1]
    for each in refused:
        assert "(crons.E015) exits.cron cannot be imported: it calls sys.exit(3) when it is imported" in each.stderr
        assert "(crons.E015) quits.cron cannot be imported: it calls os._exit(0) when it is imported" in each.stderr
        assert (
            "(crons.E015) deletes.cron cannot be imported: DeclarationError: it writes to the database" in each.stderr
        )
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as connection:
        assert connection.execute("SELECT username FROM auth_user").fetchall() == [("ann",)]
    assert (done.returncode, done.stdout) == (0, "created  tidy\ncreated  sweep\n2 declared, 0 unchanged.\n")


SHOP = {
    "cron.py": "from shop import imported\nfrom .also import tidied\n",
    "imported.py": "{job}",
    "also/__init__.py": "from .deeper import tidied\n",
    "also/deeper.py": "{job}",
    "models.py": "import shop.signals\ndef late():\n    import shop.lazy\n",
    "signals.py": "{job}",
    "apps.py": (
        "from django.apps import AppConfig\nclass Shop(AppConfig):\n    name = 'shop'\n"
        "    def ready(self):\n        from . import handlers\n"
    ),
    "handlers.py": "{job}",
    "cronjobs.py": "{job}",
    "named.py": "{job}",
    # What only some processes import:
    "tasks.py": "{job}",
    "crons.py": "import crons\n\ncrons.shell(['ls'], name='crons', schedule=crons.cron('@daily'))\n",
    "lazy.py": "{job}",
    "short.py": "import crons as c\n\n\n@c.job(c.every(minutes=5))\ndef short(): pass\n",
    "parts.py": "from crons import every, jobs\n\n\n@jobs.job(every(minutes=5))\ndef parts(): pass\n",
    "whole.py": "import crons.jobs\n\n\n@crons.jobs.job(crons.every(minutes=5))\ndef whole(): pass\n",
    "both.py": "import crons\nimport crons.jobs as j\n\n\n@j.job(crons.every(minutes=5))\ndef both(): pass\n",
    "tests/test_shop.py": "from crons import every, job as declare\n\n\n@declare(every(minutes=5))\ndef test(): pass\n",
    # What declares nothing when it is imported:
    "views.py": "from crons import api, job\n\n\ndef view(request):\n    job(name='views')(print)\n",
}
JOB = "from crons import cron, job\n\n\n@job(cron('@daily'), name=__name__)\ndef tidied():\n    pass\n"


@pytest.fixture
def shop(tmp_path):
    """A project whose jobs stand in all sorts of modules."""
    for name, text in SHOP.items():
        write(tmp_path / "shop" / name, text.replace("{job}", JOB))
    project = Project(tmp_path, ["shop"])
    with (tmp_path / "mysite" / "settings.py").open("a") as file:
        file.write("CRONS |= {'MODULES': ['shop.named']}\nCRONJOBS = [('@daily', 'shop.cronjobs.tidied')]\n")
    return project


def test_check_names_jobs_that_only_some_processes_know(shop):
    """A web process that imports `tasks.py` would list a job that no scheduler begins; nobody says why."""
    done = shop.manage("check")

    warned = [line for line in done.stderr.splitlines() if line.startswith("?: (crons.W073) ")]
    here = shop.folder / "shop"
    assert warned == [
        f"?: (crons.W073) {module} declares jobs ({here}/{file}, line {line}), and not every process imports it: "
        "a scheduler that does not begins none of them."
        for module, file, line in [
            ("shop.both", "both.py", 5),
            ("shop.crons", "crons.py", 3),
            ("shop.lazy", "lazy.py", 4),
            ("shop.parts", "parts.py", 4),
            ("shop.short", "short.py", 4),
            ("shop.tasks", "tasks.py", 4),
            ("shop.tests.test_shop", "tests/test_shop.py", 4),
            ("shop.whole", "whole.py", 4),
        ]
    ]
    assert (
        "HINT: Move them into a module called cron, import shop.tasks there, or name it: "
        "CRONS = {'MODULES': ['shop.tasks']}. A test declares inside `with crons.testing.sandbox():`." in done.stderr
    )
    assert done.returncode == 0


def test_run_says_what_this_process_does_not_know(shop):
    """Not that it waits for its turn: nobody who has this code ever begins it."""
    settings = shop.folder / "mysite" / "settings.py"
    before = settings.read_text()
    settings.write_text(before + "CRONS['MODULES'] += ['shop.tasks']\n")
    shop.manage("migrate")
    shop.manage("crons", "sync")
    settings.write_text(before)

    manual = shop.manage("crons", "run", "shop.tasks", "--manual")
    with closing(sqlite3.connect(shop.folder / "db.sqlite3")) as connection, connection:
        assert connection.execute("SELECT id FROM crons_run").fetchall() == []
        long_ago = "2000-01-01 00:00:00"
        connection.execute("UPDATE crons_entry SET first_seen_at = ?, accounted_until = ?", (long_ago, long_ago))
    scheduled = shop.manage("crons", "run", "shop.tasks", "--scheduled")

    told = (
        "this process does not know the job 'shop.tasks', which was declared in shop.tasks.tidied: no module that it "
        "loads declares it. Move it into a module called cron, or name its module in CRONS['MODULES']. "
        "See: manage.py check\n"
    )
    assert (manual.returncode, manual.stderr) == (1, f"CommandError: shop.tasks cannot be run here: {told}")
    assert (scheduled.returncode, scheduled.stderr) == (
        1,
        f"run 1 of shop.tasks is recorded, and left to others: {told}",
    )
