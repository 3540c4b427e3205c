"""Where declarations are found."""

import subprocess
import sys

import pytest

from crons.apps import cron_beside


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project package that is no installed app, with settings in files of their own."""
    for name in ("apps_mysite", "apps_mysite/conf", "apps_empty"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "apps_mysite" / "cron.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield
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
