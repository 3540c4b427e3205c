"""During a test suite no scheduler fires by accident; in production nothing is taken for a suite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test.utils import _TestState

from crons.exceptions import Disabled
from crons.hosts import in_tests
from crons.models import Deployment, Run
from crons.testing import schedulers

ROOT = Path(__file__).resolve().parents[2]
REFUSED = (
    "this process belongs to a test suite, so serve, tick and run begin nothing. In a test that wants them: "
    "the fixture crons_schedulers, or `with crons.testing.schedulers():`."
)


@pytest.fixture
def unasked(monkeypatch):
    """As a project's suite is that has asked for nothing: this one wants schedulers in all tests."""
    monkeypatch.delenv(in_tests.VARIABLE)


@pytest.mark.django_db
@pytest.mark.parametrize("verb", [("serve", "--skip-checks"), ("tick",), ("run", "log_crm_heartbeat", "--manual")])
def test_serve_tick_and_run_refuse_in_a_suite_and_touch_nothing(unasked, verb):
    """Also where the test runner is Django's own, which sets no variable."""
    with pytest.raises(CommandError) as refused:
        call_command("crons", *verb)

    assert str(refused.value) == f"Django's test environment is set up: {REFUSED}"
    assert (Run.objects.count(), Deployment.objects.count()) == (0, 0)


def test_the_variable_says_so_too(monkeypatch):
    """What a subprocess of a suite inherits."""
    monkeypatch.setenv(in_tests.VARIABLE, "1")

    with pytest.raises(Disabled, match=r"^CRONS_IN_TESTS is set: this process belongs to a test suite"):
        in_tests.refuse_schedulers()


def test_a_test_that_asks_gets_schedulers_for_itself_and_its_subprocesses(unasked):
    """Explicit, and over when the test is."""
    with schedulers():
        assert not in_tests.is_suite()
        assert os.environ[in_tests.VARIABLE] == "0"
        in_tests.refuse_schedulers()

    assert in_tests.VARIABLE not in os.environ
    assert in_tests.is_suite()


def test_a_test_runner_hands_the_mark_on_when_it_makes_its_tables(unasked, monkeypatch):
    """A subprocess would work on the real database."""
    in_tests.mark_by_test_database()
    assert os.environ[in_tests.VARIABLE] == "1"

    monkeypatch.delenv(in_tests.VARIABLE)
    monkeypatch.delattr(_TestState, "saved_data")
    in_tests.mark_by_test_database()
    assert in_tests.VARIABLE not in os.environ


LOOKS_LIKE_A_SUITE = """
import sys, unittest, pytest, django.test, django.test.utils, django.test.runner
sys.argv = ["manage.py", "test"]
import crons.testing, crons.pytest_plugin
from crons.hosts import in_tests as suite
print(suite.is_suite())
"""


def test_a_production_process_is_not_taken_for_a_suite():
    """Not for what it has imported, nor for how it was called, nor for where it lies."""
    names = ("CRONS_", "PYTEST_", "CRM_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    env |= {
        "DJANGO_SETTINGS_MODULE": "benchmarks.project",
        "DATABASE_URL": "sqlite:///:memory:",
        "PYTHONPATH": str(ROOT),
    }

    said = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{LOOKS_LIKE_A_SUITE}"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (said.stdout, said.stderr) == ("False\n", "")


# ── a project's own suite, from outside ───────────────────────────────────────────────────────────

SETTINGS = """
SECRET_KEY = "only for a test"
USE_TZ = True
INSTALLED_APPS = ["crons"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE / "real.sqlite3"}}
"""
ACCIDENTS = """
import subprocess, sys
from django.test import TestCase

class Accident(TestCase):
    def test_a_subprocess_of_the_suite_fires_nothing(self):
        done = subprocess.run([sys.executable, "manage.py", "crons", "tick"], capture_output=True, text=True)
        assert done.returncode == 1, done
        assert done.stderr.startswith("CommandError: CRONS_IN_TESTS is set: "), done.stderr
"""
MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "shop_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


@pytest.fixture
def project(tmp_path):
    """A project with crons, a real database with its tables, and a test that starts a scheduler by accident."""
    (tmp_path / "shop_settings.py").write_text(f"from pathlib import Path\nBASE = Path({str(tmp_path)!r})\n{SETTINGS}")
    (tmp_path / "manage.py").write_text(MANAGE)
    (tmp_path / "test_accident.py").write_text(ACCIDENTS)
    ours = ("CRONS_", "CRM_", "PYTEST_", "DJANGO_", "DATABASE_URL")
    kept = {in_tests.VARIABLE: "", **{name: value for name, value in os.environ.items() if not name.startswith(ours)}}
    del kept[in_tests.VARIABLE]
    env = {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}

    def call(*command, **more):
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env={**env, **more}, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    assert call("manage.py", "migrate", "--verbosity=0").returncode == 0
    return call


def test_pytest_switches_schedulers_off_for_all_that_a_suite_starts(project):
    """By the plugin, which pytest finds by itself where crons is installed."""
    done = project("-m", "pytest", "-p", "crons.pytest_plugin", "--ds=shop_settings", "-q")

    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_djangos_runner_switches_schedulers_off_for_all_that_a_suite_starts(project):
    """Without pytest, and without a line in the settings."""
    done = project("manage.py", "test")

    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


@pytest.mark.parametrize(
    "command",
    [("-m", "pytest", "-p", "crons.pytest_plugin", "--ds=shop_settings", "-q"), ("manage.py", "test")],
    ids=["pytest", "Django"],
)
def test_no_suite_begins_where_a_cron_module_fails(project, tmp_path, command):
    """Its jobs would be missing, and all tests that do not ask for them green."""
    (tmp_path / "stock").mkdir()
    (tmp_path / "stock" / "__init__.py").touch()
    (tmp_path / "stock" / "cron.py").write_text("from crons import job\nimport nosuch\n")
    with (tmp_path / "shop_settings.py").open("a") as file:
        file.write("INSTALLED_APPS += ['stock']\n")

    done = project(*command)

    assert done.returncode != 0
    assert (
        "stock.cron cannot be imported: ModuleNotFoundError: No module named 'nosuch' "
        f"({tmp_path}/stock/cron.py, line 2)." in done.stderr
    )
    assert "passed" not in done.stdout
    assert "Ran " not in done.stderr


def test_outside_of_a_suite_the_same_project_fires(project):
    """The switch is the suite's, not the project's."""
    assert (project("manage.py", "crons", "tick").returncode, project("manage.py", "check").returncode) == (0, 0)


def test_a_project_may_want_schedulers_in_all_its_tests(project, tmp_path):
    """One line of its pytest configuration; then the accident is none."""
    (tmp_path / "pytest.ini").write_text("[pytest]\ncrons_schedulers = true\n")

    done = project("-m", "pytest", "-p", "crons.pytest_plugin", "--ds=shop_settings", "-q")

    assert done.returncode == 1
    assert "returncode=0" in done.stdout


def test_the_plugin_costs_a_project_without_django_nothing(project, tmp_path):
    """pytest loads it in every project of the environment, before anybody has settings."""
    (tmp_path / "test_plain.py").write_text(
        "import sys\ndef test_plain():\n"
        "    assert 'django.conf' not in sys.modules and 'crons.models' not in sys.modules\n"
    )

    done = project("-m", "pytest", "-p", "no:django", "-p", "crons.pytest_plugin", "-q", "test_plain.py")

    assert done.returncode == 0, done.stdout
