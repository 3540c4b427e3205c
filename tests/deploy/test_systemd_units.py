"""The units of deploy/systemd: systemd reads them without a word, they are closed, and what they start exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
COMPOSE = (ROOT / "deploy" / "compose.yaml").read_text().partition("\n  set-up:\n")[2].partition("\n  web:\n")[0]
REQUIRED = re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
COMMON = (UNITS / "crm-.service.d" / "common.conf").read_text()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units for this very checkout, and for an account that exists here."""
    for path in [*SERVICES, UNITS / "crm-.service.d" / "common.conf"]:
        text = path.read_text().replace("/srv/crm/.venv/bin/python", sys.executable).replace("/srv/crm", str(ROOT))
        there = tmp_path / path.relative_to(UNITS)
        there.parent.mkdir(exist_ok=True)
        there.write_text(re.sub(r"^(User|Group)=crm$", r"\1=daemon", text, flags=re.MULTILINE))
    return tmp_path


def test_there_is_a_service_for_each_part() -> None:
    """Each part is brought back by itself."""
    assert [path.stem for path in SERVICES] == ["crm-beat", "crm-scheduler", "crm-set-up", "crm-web", "crm-worker"]
    for path in SERVICES:
        if path.stem == "crm-set-up":
            assert "Restart" not in path.read_text() + COMMON  # systemd refuses to load such a unit of Type=oneshot
        else:
            assert "\nAfter=crm-set-up.service\n" in path.read_text()
            assert "\nRestart=always\n" in path.read_text()


def test_the_set_up_is_that_of_the_containers() -> None:
    """Without its tables nothing starts, and without its rows beat fires nothing."""
    unit = (UNITS / "crm-set-up.service").read_text()
    steps = re.findall(r"^ExecStart=/srv/crm/\.venv/bin/python manage\.py (.+)$", unit, re.MULTILINE)

    assert [step for step in steps if f"python manage.py {step}" not in COMPOSE] == []
    assert len(steps) == COMPOSE.count("python manage.py ") == 3


@pytest.mark.needs("systemd")
@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.stem)
def test_systemd_finds_nothing_wrong(service: Path, installed: Path) -> None:
    """A misspelt option is passed over by systemd, with a line in a log that nobody reads."""
    done = subprocess.run(["systemd-analyze", "verify", installed / service.name], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.needs("systemd")
@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.stem)
def test_a_service_is_closed(service: Path, installed: Path) -> None:
    """An exposure of at most 2.0 of 10; without the common part it would be above 9."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(installed / service.name)]

    closed = _exposure(command)
    shutil.rmtree(installed / "crm-.service.d")

    assert closed <= 2.0
    assert _exposure(command) > 9


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.stem)
def test_what_a_service_starts_exists(service: Path) -> None:
    """A unit that starts nothing is found out at the deploy."""
    found = re.findall(r"^ExecStart=/srv/crm/\.venv/bin/python (.+)$", service.read_text(), re.MULTILINE)
    assert found != []

    for line in found:
        words = line.split()
        if words[0] == "-m":
            assert words[1] in REQUIRED
            module = re.search(r"crm\.\w+", line)
            assert module is not None
            assert find_spec(module[0]) is not None
        else:
            assert (ROOT / words[0]).is_file()
            assert words[1] in get_commands()


def test_variables_are_read_by_the_settings() -> None:
    """A variable that nothing reads would be a setting that does nothing."""
    settings = (ROOT / "crm" / "settings.py").read_text()

    given = re.findall(r"(CRM_\w+)=", COMMON)

    assert given == ["CRM_ENV_FILE", "CRM_LOG_DIR", "CRM_TOKEN_FILE", "CRM_STATE_DIR", "CRM_ARCHIVE_DIR"]
    assert [name for name in given if f'"{name}"' not in settings] == []


def test_no_secret_stands_in_a_unit() -> None:
    """Everybody on a machine may read its units."""
    text = COMMON + "".join(path.read_text() for path in SERVICES)

    assert re.findall(r"(?i)(?:password|secret|token|key)=", text) == []
    assert "LoadCredential=crm.env:/etc/crm/crm.env\n" in text


def _exposure(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", done.stdout)
    assert found is not None, done.stderr
    return float(found[1])
