"""What crons has for another system lies in one folder: without it the rest works, and nothing else names it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crons
from crons.extensions import extensions

HERE = Path(crons.__file__).parent
FOLDERS = sorted(each.name for each in (HERE / "contrib").iterdir() if (each / "extension.py").exists())
SYSTEMS = ("celery", "kombu", "django_celery_beat", "django_tasks", "django_cron", "django_crontab")
PLAY = """
import sys
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="-",
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "crons"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "ledger.sqlite3"}},
    CRONS={"DISCOVER": False},
)
django.setup()

from django.core.management import call_command

from crons import job

done = []


@job(name="works")
def works():
    done.append(True)


call_command("check")
call_command("migrate", verbosity=0)
call_command("crons", "sync")
call_command("crons", "run", "works", "--foreground")
import crons.tasks
from crons.conf import conf
from crons.sources import sources
from crons.targets import targets

assert done
print(*sorted(name for name in sys.modules if name.startswith("crons.contrib.") and name.endswith(".checks")))
print("has", *sorted({*conf.executors, *(each.name for each in sources()), *targets()}))
"""
BRINGS = {
    "celery": {"celery", "beat"},
    "django_cron": {"cron_classes"},
    "django_crontab": {"cronjobs"},
    "django_tasks": {"tasks"},
    "systemd": {"systemd"},
}
CORE = {"process", "inline", "code", "crontab", "crontab_files"}


def test_every_folder_is_found():
    """One that nobody finds would be dead."""
    assert [type(each).__module__ for each in extensions()] == [f"crons.contrib.{name}.extension" for name in FOLDERS]
    assert set(BRINGS) == set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_without_a_folder_only_its_feature_is_gone(folder: str, tmp_path: Path):
    """As somebody who deletes it has it: nothing else imports it, and jobs are declared, synced and run."""
    shutil.copytree(HERE, tmp_path / "crons", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(tmp_path / "crons" / "contrib" / folder)

    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", PLAY],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    left = set().union(CORE, *(names for name, names in BRINGS.items() if name != folder))
    checks, has = [line.split() for line in done.stdout.splitlines()[-2:]]
    assert has == ["has", *sorted(left)]
    with_checks = [path.parent.name for path in (HERE / "contrib").glob("*/checks.py") if path.parent.name != folder]
    assert checks == [f"crons.contrib.{name}.checks" for name in sorted(with_checks)]


def test_nothing_outside_names_another_system():
    """A second place that knows of it would have to be found and mended when it changes."""
    imports = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(SYSTEMS)})\b", re.MULTILINE)
    outside = [path for path in HERE.rglob("*.py") if HERE / "contrib" not in path.parents]

    assert [str(path) for path in outside if imports.search(path.read_text())] == []
    named = {path.relative_to(HERE).as_posix() for path in outside if "crons.contrib" in path.read_text()}
    assert named == {"extensions.py"}
