"""What crons has for another system lies in one folder: without it the rest works, and nothing else names it."""

from __future__ import annotations

import ast
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
ROOT = HERE.parent
PAGES = {
    "apprise": "alerts.md",
    "celery": "celery.md",
    "django_cron": "django-cron.md",
    "django_crontab": "django-crontab.md",
    "django_tasks": "tasks.md",
    "graphql": "graphql.md",
    "opentelemetry": "monitoring.md",
    "prometheus": "monitoring.md",
    "systemd": "systemd.md",
    "webhooks": "alerts.md",
}
SYSTEMS = re.compile(
    r"celery|kombu|billiard|django.?tasks|django.?cron\b|django.?crontab|CRONJOBS|CRON_CLASSES|systemd(?!-timesyncd)\b|OnCalendar"
    r"|prometheus|opentelemetry|graphql|strawberry",
    re.I,
)
# Where one is named all the same: to people, or as a program of the machine.
NAMED = {
    "executors/process/exiting.py": "programs that jobs are forked from, and what these do at their end",
    "management/verbs/__init__.py": "help",
    "management/verbs/apply.py": "help",
    "management/verbs/sync.py": "help",
    "sources/shell_words.py": "systemd-run, systemd-cat and opentelemetry-instrument start what stands behind them",
    "triggers/worker_session.py": "how a worker is to be started",
}
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
from crons.extensions import extensions
from crons.sources import sources
from crons.targets import targets

assert done
print(*sorted(name for name in sys.modules if name.startswith("crons.contrib.") and name.endswith(".checks")))
from crons.urls import urlpatterns

pages = {each.name for each in urlpatterns}
channels = [kind for each in extensions() for kind in each.channels]
has = {*conf.executors, *channels, *(each.name for each in sources()), *targets(), *(pages & {"metrics"})}
print("has", *sorted(has))
"""
BRINGS = {
    "apprise": {"apprise"},
    "celery": {"celery", "beat"},
    "django_cron": {"cron_classes"},
    "django_crontab": {"cronjobs"},
    "django_tasks": {"tasks"},
    "graphql": set(),
    "opentelemetry": set(),
    "prometheus": {"metrics"},
    "systemd": {"systemd"},
    "webhooks": {"webhook"},
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


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_has_its_page_and_its_tests(folder: str):
    """Whoever deletes it must find what goes with it."""
    assert (ROOT / "docs" / "howto" / PAGES[folder]).exists()
    assert list((ROOT / "tests" / "contrib" / folder).glob("test_*.py"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_tests_of_a_folder_need_no_other(folder: str):
    """Else they would fail where somebody has deleted that one. import-linter holds the folders themselves to it."""
    others = "|".join(name for name in FOLDERS if name != folder)
    files = [*(ROOT / "tests" / "contrib" / folder).glob("*.py"), *(ROOT / "tests" / "contrib").glob("*.py")]

    assert [path.name for path in files if re.search(rf"contrib\.({others})\b", path.read_text())] == []


def test_the_tests_of_the_core_need_no_folder():
    """They run where all of them are deleted: scripts/test_without.sh."""
    files = (ROOT / "tests" / "crons").rglob("*.py")

    systems = re.compile(r"contrib\.(celery|django_|opentelemetry|prometheus|systemd)")
    assert [path.name for path in files if systems.search(path.read_text())] == []


def test_what_asks_for_folders_is_run_without_each_of_them():
    """scripts/test_without.sh runs the tests of these modules in each copy: one that it does not know is not tried."""
    script = (ROOT / "scripts" / "test_without.sh").read_text()
    named = dict(re.findall(r"^    (\S+\.py):(test_\w+\.py)$", script, re.MULTILINE))
    outside = [path for path in HERE.rglob("*.py") if HERE / "contrib" not in path.parents]

    asking = [
        path for path in outside if re.search(r"^ *from crons\.extensions import", path.read_text(), re.MULTILINE)
    ]

    assert sorted(path.relative_to(HERE).as_posix() for path in asking) == sorted(named)
    assert [name for name in named.values() if not (ROOT / "tests" / "crons" / name).exists()] == []


def test_nothing_outside_names_another_system():
    """A second place that knows of it would have to be found and mended when it changes."""
    outside = [path for path in HERE.rglob("*.py") if HERE / "contrib" not in path.parents]
    named = {path.relative_to(HERE).as_posix() for path in outside if SYSTEMS.search(_code(path))}

    assert named == set(NAMED)
    assert [path.name for path in outside if "crons.contrib" in path.read_text()] == ["extensions.py"]


def _code(path: Path) -> str:
    """Return the names and the texts in a module, without its docstrings and comments."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [
        getattr(node, field, None)
        for node in ast.walk(tree)
        for field in ("value", "id", "attr", "name", "module")
        if id(node) not in docstrings
    ]
    return "\n".join(each for each in found if isinstance(each, str))
