"""What the wheel holds and what it asks for; `make release` installs it and does the README's first five minutes."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 300

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: builds leave folders behind."""
    place = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(
        ".git", ".venv*", "var", "build", "dist", "site", "*.egg-info", ".*_cache", ".cache", ".coverage*",
        ".hypothesis", "__pycache__",
    )  # fmt: skip
    shutil.copytree(ROOT, place / "source", ignore=left_out)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, place / "source"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    [built] = place.glob("*.whl")
    return built


def test_wheel_holds_crons_and_nothing_else(wheel: Path) -> None:
    """Neither the CRM nor the tests belong into somebody's site-packages."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        described = email.message_from_bytes(archive.read(metadata))

    assert {name.split("/")[0] for name in names} == {"crons", metadata.split("/")[0]}
    in_tree = {str(path.relative_to(ROOT)) for path in (ROOT / "crons").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == in_tree
    pages = [path for kind in ("templates", "static") for path in (ROOT / "crons" / kind).rglob("*") if path.is_file()]
    assert pages
    assert {str(path.relative_to(ROOT)) for path in pages} <= set(names)
    assert "crons/py.typed" in names
    required = [each for each in described.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert sorted(required) == ["Django>=5.2"]


def test_wheel_tells_pytest_of_the_plugin(wheel: Path) -> None:
    """Named like its module: a project that names it in pytest_plugins too must not load it twice."""
    with zipfile.ZipFile(wheel) as archive:
        [path] = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        text = archive.read(path).decode()

    assert text.split() == ["[pytest11]", "crons.pytest_plugin", "=", "crons.pytest_plugin"]
