"""Where declarations are found, and what becomes of a module that fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.utils.autoreload import StatReloader

from crons.apps import cron_beside, watch_broken
from crons.jobs import registry
from crons.sources import code


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project package that is no installed app, with settings in files of their own."""
    for name in ("apps_mysite", "apps_mysite/conf", "apps_empty"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "apps_mysite" / "cron.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("apps_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("settings_module", "found"),
    [
        ("apps_mysite.settings", "apps_mysite.cron"),
        ("apps_mysite.conf.production", "apps_mysite.cron"),
        ("apps_empty.settings", ""),
        ("settings", ""),
        ("", ""),
    ],
)
def test_cron_module_beside_the_settings(project, settings_module, found):
    """What startproject makes is no installed app, and where a newcomer writes the first job."""
    assert cron_beside(settings_module) == found


@pytest.mark.parametrize(
    "crons", [{"PRUNE": "17 25 * * *"}, {"PRUNE": 3}, {"DEFAULTS": {"timeout": 5}}, {"DEFAULTS": {"timout": 5}}]
)
def test_wrong_setting_is_told_by_the_check_and_stops_no_start(crons):
    """The job that crons brings along needs both settings; crons.E001 is where they are mended."""
    program = (
        "import django; from django.conf import settings; "
        f"settings.configure(INSTALLED_APPS=['crons'], USE_TZ=True, CRONS={crons!r}); django.setup(); "
        "from crons.checks import check_settings; print([message.id for message in check_settings()])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr) == ("['crons.E001']\n", "")


HALF = """from apps_empty.whole import stays
from crons import cron, entry, job, shell


@job(cron("@daily"))
def half():
    print(LATER)


shell(["ls"], name="listing", schedule=cron("@daily"))
entry("stays_again", "stays", cron("@hourly"))
LATER = missing
"""
WHOLE = """from crons import cron, job


@job(cron("@daily"))
def stays():
    pass
"""


@pytest.fixture
def broken(project, empty_registry, monkeypatch):
    """A `cron` module that fails in its last line, after it has imported one that is whole."""
    monkeypatch.setattr(registry, "broken", {})
    (project / "apps_empty" / "whole.py").write_text(WHOLE)
    module = project / "apps_empty" / "cron.py"
    module.write_text(HALF)
    return module


def test_module_that_fails_declares_nothing_and_says_why(broken, caplog):
    """Half of it would run with names that are not there yet; what it imported is whole, and imported only once."""
    code.load("apps_empty.cron")

    assert set(registry.jobs) == set(registry.entries) == {"stays"}
    told = f"NameError: name 'missing' is not defined ({broken}, line 12)"
    assert registry.broken == {"apps_empty.cron": told}
    [record] = caplog.records
    assert (record.name, record.levelname) == ("crons", "ERROR")
    assert caplog.text.endswith(
        "apps_empty.cron declares no jobs: it cannot be imported\n"
        "Traceback (most recent call last):\n"
        f'  File "{broken}", line 12, in <module>\n'
        "    LATER = missing\n"
        "            ^^^^^^^\n"
        "NameError: name 'missing' is not defined\n"
    )


def test_module_that_is_mended_declares_all_of_it(broken, monkeypatch):
    code.load("apps_empty.cron")
    broken.write_text(HALF.replace("missing", "'printed'"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    code.load("apps_empty.cron")

    assert set(registry.entries) == {"stays", "half", "listing", "stays_again"}
    assert registry.broken == {}


def test_module_that_is_no_python_is_told_of_by_its_line(broken, caplog):
    broken.write_text("def half(:\n")

    code.load("apps_empty.cron")

    assert registry.broken == {"apps_empty.cron": "SyntaxError: invalid syntax (cron.py, line 1)"}
    assert "Traceback" not in caplog.text  # only importlib's frames were in it
    assert f'  File "{broken}", line 1\n    def half(:\n' in caplog.text


def test_what_the_error_says_is_kept_without_secrets(broken, caplog, settings):
    """Staff see it, and monitoring; the log is written as any other traceback."""
    settings.SHOP_API_TOKEN = "tok-1234567890"
    broken.write_text("raise RuntimeError('refused: tok-1234567890')\n")

    code.load("apps_empty.cron")

    assert registry.broken == {"apps_empty.cron": f"RuntimeError: refused: ******** ({broken}, line 1)"}
    assert "refused: tok-1234567890" in caplog.text


def test_without_knowing_the_secrets_nothing_is_told_but_the_kind(broken, settings):
    settings.CRONS = {"REDACT": "tok-1234567890"}  # a list of texts is expected
    broken.write_text("raise RuntimeError('refused: tok-1234567890')\n")

    code.load("apps_empty.cron")

    assert registry.broken == {"apps_empty.cron": f"RuntimeError ({broken}, line 1)"}


def test_runserver_watches_the_module_until_it_is_mended(broken):
    """It watches what was imported: whoever mends a mistake would wait for nothing."""
    code.load("apps_empty.cron")
    reloader = StatReloader()

    watch_broken(reloader)

    assert broken in reloader.watched_files(include_globs=True)
    assert broken not in StatReloader().watched_files(include_globs=True)


def test_one_broken_module_stops_no_other_and_no_start(project):
    """One app's mistake took down the site, the other apps' jobs, and the command that could mend it."""
    (project / "apps_empty" / "cron.py").write_text("import nosuch\n")
    (project / "apps_mysite" / "cron.py").write_text(WHOLE)
    program = (
        "import django, json; from django.conf import settings; "
        "settings.configure(INSTALLED_APPS=['crons', 'apps_empty', 'apps_mysite'], USE_TZ=True); django.setup(); "
        "from crons.jobs import registry; from crons.checks import check_sources; "
        "print(json.dumps([sorted(registry.jobs), [[m.id, m.msg, m.hint] for m in check_sources()]]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}:{project}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    jobs, messages = json.loads(done.stdout)
    assert jobs == ["crons.prune", "stays"]
    assert messages == [
        [
            "crons.E015",
            "apps_empty.cron cannot be imported: ModuleNotFoundError: No module named 'nosuch' "
            f"({project}/apps_empty/cron.py, line 1).",
            "Mend it: until then none of its jobs is begun, and crons serve and sync refuse. Where only a table is "
            "missing: manage.py migrate --skip-checks.",
        ]
    ]
    assert done.stderr.startswith("apps_empty.cron declares no jobs: it cannot be imported\nTraceback ")
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'nosuch'\n")
