"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TESTS = sorted((ROOT / "tests").rglob("*.py"))
CRONS = sorted((ROOT / "crons").rglob("*.py"))
SHELL = [ROOT / ".ci" / "run", *sorted((ROOT / "scripts").glob("*.sh"))]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_sleeps(path: Path):
    """A sleep is too short on a busy machine and too long on all others: wait for a sign instead.

    Where there is none, the line says so: `# sleeps: why`.
    """
    lines = path.read_text().splitlines()

    sleeping = [
        f"{path.name}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) == "sleep"
        and not re.search(r"# sleeps: \w", lines[node.lineno - 1])
    ]

    assert sleeping == []


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_stop_at_the_first_error(path: Path):
    """A step that failed unseen makes all that follows a lie."""
    assert "\nset -euo pipefail\n" in path.read_text()
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", path], capture_output=True).stderr == b""


def test_every_target_is_explained():
    """`make help` is the only list of the targets: one that it omits is not found."""
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets is not None

    explained = re.findall(r"^([a-z0-9-]+):[^=\n]*## \S", makefile, re.MULTILINE)

    assert explained == targets[1].split()


def test_every_marker_is_declared_with_its_meaning():
    """`pytest --markers` is where a newcomer looks."""
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]

    assert [marker for marker in markers if not re.fullmatch(r"[a-z]+(\(\w+\))?: .+", marker)] == []


def test_contributing_names_only_targets_that_exist():
    """A command in a document that fails is worse than none."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"`(?:\w+=\S+ )*make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text()))

    assert named
    assert named <= targets


def test_the_map_names_all_that_is_there():
    """A map that lacks a room sends people past it, and one that keeps a room which is gone sends them nowhere."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    rows = page.partition("| floor | folders | files |")[2].partition("\n\n")[0].splitlines()[2:]
    drawn = [name for row in rows for column in row.split("|")[2:4] for name in re.findall(r"`([a-z_]+/?)`", column)]

    there = [f"{path.name}/" for path in (ROOT / "crons").iterdir() if path.is_dir() and path.name != "__pycache__"]
    there += [path.stem for path in (ROOT / "crons").glob("*.py") if path.stem != "__init__"]

    assert sorted(drawn) == sorted(there)


@pytest.mark.parametrize("path", CRONS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_message_points_at_a_page_that_the_wheel_has_not(path: Path):
    """Whoever has installed the wheel has neither docs/ nor an address of it: a message must do by itself."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }

    pointing = [
        f"{path.name}:{node.lineno}: {node.value}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and re.search(r"\bdocs/|\.md\b", node.value)
    ]

    assert pointing == []
