"""The examples of docs/howto/testing.md are the files of a project, and its tests pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crons import testing
from crons.hosts import in_tests

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "testing.md").read_text()
FILES = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
# What the examples lean on and the page need not show.
REST = {
    "settings.py": """
SECRET_KEY = "only for a test"
USE_TZ = True
INSTALLED_APPS = ["crons", "stock"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "real.sqlite3"}}
""",
    "manage.py": """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "stock/__init__.py": "",
    "stock/orders.py": """
from datetime import timedelta
confirmed = set()

def sold(since, until):
    return f"{(until - since) // timedelta(hours=1)} hours"

def confirm(key):
    if key in confirmed:
        return 0
    confirmed.add(key)
    return 3
""",
}


@pytest.fixture
def call(tmp_path):
    """Call Python in a project made of the page's files."""
    for name, text in [*REST.items(), *FILES]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ours = ("CRONS_", "CRM_", "PYTEST_", "DJANGO_", "DATABASE_URL")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env["PYTHONPATH"] = f"{ROOT}{os.pathsep}{tmp_path}"

    def run(*command):
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    assert run("manage.py", "migrate", "--verbosity=0").returncode == 0
    return run


def test_the_examples_for_pytest_pass(call):
    """Copied, they must work as they stand."""
    examples = [name for name, _ in FILES if name.startswith("test_")]
    count = sum(text.count("def test_") for name, text in FILES if name in examples)

    done = call("-m", "pytest", "-p", "crons.pytest_plugin", "--ds=settings", "-q", "-p", "no:cacheprovider", *examples)

    assert done.returncode == 0, done.stdout
    assert f"{count} passed" in done.stdout
    assert count == 13


def test_the_example_without_pytest_passes_with_djangos_runner(call):
    """`manage.py test`, with no plugin and no setting."""
    done = call("manage.py", "test", "tests")

    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


def test_every_public_name_is_on_the_page():
    """What is exported is a promise, and a promise is explained."""
    from crons import pytest_plugin

    fixtures = [name for name in vars(pytest_plugin) if name.startswith("crons_")]
    unexplained = [name for name in testing.__all__ if not re.search(rf"\b{name}\b", PAGE)]

    assert [name for name in unexplained if name not in ("Due", "Result")] == []
    assert re.findall(r"^\| `(crons_\w+)` \|", PAGE, re.MULTILINE) == fixtures
    assert in_tests.VARIABLE in PAGE
