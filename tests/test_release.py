"""`make release`: what is built is tried before anybody has it, and the first thing that is wrong ends it."""

import os
import subprocess
from pathlib import Path

import pytest

from scripts.check_tree import fingerprint, stale_locks
from scripts.try_wheel import Wrong, commands, example

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def release(tmp_path):
    """Call scripts/release.sh in a copy of what it reads, with tools that only write down that they were called."""
    for name in ("scripts/release.sh", "scripts/find_python.sh", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
        (tmp_path / name).chmod(0o755)
    tools = tmp_path / "venv" / "bin"
    tools.mkdir(parents=True)
    for tool in ("python", "check-wheel-contents"):
        (tools / tool).write_text(TOOL)
        (tools / tool).chmod(0o755)

    def call(broken: str = "nothing") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tmp_path / "scripts" / "release.sh"],
            env={**os.environ, "VENV": str(tmp_path / "venv"), "BROKEN": broken},
            capture_output=True,
            text=True,
        )

    return call


TOOL = """#!/bin/bash
mkdir -p dist && touch dist/crons.whl
if [[ $* == *$BROKEN* ]]; then
    echo "$BROKEN is broken"
    exit 3
fi
"""


def test_release_tries_each_django_that_it_promises(release):
    """A classifier is a promise: nobody may be the first to try that Django."""
    done = release()

    assert (done.returncode, done.stderr) == (0, "")
    steps = [line.split(" on Python")[0].split(" (at")[0] for line in done.stdout.splitlines()]
    assert steps[:3] == ["ok      build", "ok      twine", "ok      contents"]
    # "left out" where this machine has no Python that takes it.
    assert [step.removeprefix("ok      ").removeprefix("left out ") for step in steps[3:]] == [
        "Django 5.2",
        "Django 6.0",
        "Django 6.1",
        "── dist holds: crons.whl",
    ]


def test_release_ends_at_the_first_failure_and_names_it(release):
    """What follows a wheel that is wrong says nothing about it."""
    done = release(broken="twine")

    assert done.returncode == 1
    assert [line.partition(" (at")[0] for line in done.stdout.splitlines()] == [
        "ok      build",
        "        twine is broken",
    ]
    assert done.stderr.startswith("FAILED  twine: ")
    assert len(done.stderr.splitlines()) == 1


def test_release_types_what_the_readme_types():
    """The README's first five minutes are run at each release: they cannot go out of date."""
    assert commands(README)[:3] == ["migrate", "crons sync", "crons serve"]
    assert "def count_stock():" in example(README)


@pytest.mark.parametrize("verb", ["crons serve", "crons health"])
def test_readme_without_a_command_is_no_release(verb: str):
    """A step that silently fell away would show nothing."""
    without = README.replace(f"$ python manage.py {verb}", "")

    with pytest.raises(Wrong, match=f"types no `python manage.py {verb}` any more"):
        commands(without)


def test_a_lock_that_is_older_than_its_requirements_is_named(tmp_path, monkeypatch):
    """Whoever installs it would get what was wanted once."""
    monkeypatch.setattr("scripts.check_tree._ROOT", tmp_path)
    monkeypatch.setattr("scripts.check_tree._LOCKS", {"one.lock": ("one.txt",), "two.lock": ("two.txt",)})
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text("Django>=5.2  # for all\n")
        (tmp_path / f"{name}.lock").write_text(f"# Made by: make lock. Made from: {fingerprint(f'{name}.lock')}\n")

    (tmp_path / "two.txt").write_text("Django>=6.0\n")

    assert stale_locks() == ["two.lock is older than two.txt. Run: make lock"]
