"""Where declarations are found, and what becomes of a module that fails."""

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from logging.handlers import QueueHandler
from pathlib import Path
from textwrap import indent

import pytest
from django.utils.autoreload import StatReloader

from crons import cron, entry, job
from crons.apps import watch_modules
from crons.jobs import registry
from crons.sources import code, importing, loading
from crons.sources.loading import cron_modules_around


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
    ("module", "found"),
    [
        ("apps_mysite.settings", ["apps_mysite.cron"]),
        ("apps_mysite.conf.production", ["apps_mysite.conf.cron", "apps_mysite.cron"]),
        ("apps_empty.settings", []),
        ("settings", []),
        ("", []),
        (None, []),
    ],
)
def test_cron_modules_beside_the_settings_and_around_them(project, module, found):
    """What startproject makes is no installed app, and where a newcomer writes the first job.

    A file `conf/cron.py` among settings that are split by subject must not hide the project's own.
    """
    (project / "apps_mysite" / "conf" / "cron.py").touch()

    assert list(cron_modules_around(module)) == found


@pytest.mark.parametrize(
    "crons", [{"KEEP": {"faild": None}}, {"KEEP": 3}, {"DEFAULTS": {"timeout": 5}}, {"DEFAULTS": {"timout": 5}}]
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


def test_runserver_watches_modules_that_it_has_not_imported(broken, settings):
    """It watches what was imported: whoever mends a mistake would wait for nothing."""
    settings.CRONS = {"MODULES": ["apps_empty.cron", "apps_nosuch.cron"]}
    reloader = StatReloader()

    watch_modules(reloader)

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
            "crons.W070",
            "apps_empty.cron cannot be imported: ModuleNotFoundError: No module named 'nosuch' "
            f"({project}/apps_empty/cron.py, line 1).",
            code.FIX,
        ]
    ]
    assert done.stderr.startswith("apps_empty.cron declares no jobs: it cannot be imported\nTraceback ")
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'nosuch'\n")


def test_threads_wait_for_the_one_that_loads_and_it_reads_what_is_there(monkeypatch):
    """A request that met half of the declarations would say of a job that nobody knows it."""
    loads, started, go = [], threading.Event(), threading.Event()

    def load_all():
        registry.load()  # as a module that reads the registry while it is imported
        started.set()
        go.wait(60)
        loads.append(threading.current_thread().name)

    monkeypatch.setattr(registry, "is_loaded", False)
    monkeypatch.setattr(registry, "load", loading.Loader())
    monkeypatch.setattr(loading, "_load_all", load_all)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(registry.load)
        started.wait(60)
        second = pool.submit(lambda: (registry.load(), list(loads)))
        go.set()

        assert first.result(60) is None
        assert len(second.result(60)[1]) == len(loads) == 1


def test_declarations_that_failed_to_load_are_loaded_by_who_comes_next(monkeypatch):
    """Ctrl-C in a slow import, say: the next reader must not take nothing for all."""
    monkeypatch.setattr(registry, "is_loaded", False)
    endings = iter([KeyboardInterrupt, None])

    def load_all():
        if ending := next(endings):
            raise ending

    monkeypatch.setattr(loading, "_load_all", load_all)
    load = loading.Loader()
    with pytest.raises(KeyboardInterrupt):
        load()

    load()

    assert registry.is_loaded


def test_declaring_and_finding_what_is_known_loads_nothing(monkeypatch, empty_registry):
    """A view imports one module of declarations; that must not import all others in the middle of it."""
    calls = []
    monkeypatch.setattr(empty_registry, "load", lambda: calls.append("load"))

    job(name="tidy")(print)
    entry("tidy_again", "tidy", cron("@daily"))

    assert calls == []
    assert set(empty_registry.entries) == {"tidy", "tidy_again"}
    assert calls == ["load"]


def test_module_that_a_view_imported_in_vain_leaves_nothing_declared(broken):
    """Its functions are half made, whoever imported it first."""
    with pytest.raises(NameError):
        import_module("apps_empty.cron")
    assert "half" in registry.jobs

    code.load("apps_empty.cron")

    assert set(registry.jobs) == set(registry.entries) == {"stays"}


def test_import_that_catches_everything_ends_the_process_with_words(tmp_path):
    """A bare `except` in a loop swallows each interruption: a check that hangs in a pipeline says nothing."""
    # Several deep: an interruption between one `except` and the next `try` is caught by those around it.
    text = "pass\n"
    for _ in range(4):
        text = "while True:\n  try:\n" + indent(text, "    ") + "  except: pass\n"
    (tmp_path / "endless.py").write_text(text)
    program = (
        "import django; from django.conf import settings; from importlib import import_module; "
        "settings.configure(INSTALLED_APPS=['crons'], USE_TZ=True); django.setup(); "
        "from crons.sources.importing import importing, limited\n"
        "with limited(0.1), importing('endless'): import_module('endless')"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (
        1,
        "endless does not end being imported, and catches what should interrupt it: this process ends here. "
        "Move what endless does at import into a function, or rename the module.\n",
    )


def test_import_is_given_what_a_busy_machine_kept_it_waiting(monkeypatch):
    """On a machine with no processor to spare a good module was stopped after ten seconds, and declared nothing."""
    # When it begins, and at two alarms: it had no processor before the first.
    clock = iter([5.0, 5.0, 5.01])
    monkeypatch.setattr(importing, "_slow", {})
    monkeypatch.setattr(importing, "_seconds_of_its_own", lambda: next(clock))

    took_too_long = pytest.raises(importing.TookTooLong, match=r"^its import took longer than 0\.01 s and was stopped$")
    with took_too_long, importing.limited(0.01), importing.importing("apps_late.cron"):
        while True:
            pass

    assert list(clock) == []


def test_import_that_takes_long_is_told_as_an_event(monkeypatch):
    """Nothing is begun meanwhile: who filters by events must see why."""
    monkeypatch.setattr(importing, "SLOW_SECONDS", 0.0)
    said: queue.Queue[logging.LogRecord] = queue.Queue()
    handler = QueueHandler(said)
    logging.getLogger("crons").addHandler(handler)

    try:
        with importing.importing("apps_late.cron"):
            record = said.get(timeout=60)
    finally:
        logging.getLogger("crons").removeHandler(handler)

    assert (record.event, record.module_name) == ("import.slow", "apps_late.cron")
    assert record.getMessage().startswith(
        "apps_late.cron has been imported for 0 s; nothing is begun before that ends."
    )
