"""`make release` and `make docs`: what is built is tried before anybody has it; what is wrong ends them."""

import os
import subprocess
from pathlib import Path

import pytest

from scripts.check_tree import fingerprint, stale_locks
from scripts.try_wheel import Wrong, commands, example

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def call(tmp_path):
    """Call a script in a copy of what it reads, with *tool* in place of what the release's lock installs."""

    def call_script(
        script: str, tool: str, *, changelog: Path = ROOT / "CHANGELOG.md", **env: str
    ) -> subprocess.CompletedProcess[str]:
        for name in (script, "scripts/find_python.sh", "pyproject.toml"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
            (tmp_path / name).chmod(0o755)
        (tmp_path / "CHANGELOG.md").write_bytes(changelog.read_bytes())
        tools = tmp_path / "venv" / "bin"
        tools.mkdir(parents=True)
        for name in ("python", "check-wheel-contents"):
            (tools / name).write_text(tool)
            (tools / name).chmod(0o755)
        return subprocess.run(
            [tmp_path / script],
            env={**os.environ, "VENV": str(tmp_path / "venv"), **env},
            capture_output=True,
            text=True,
        )

    return call_script


# Stands for all tools of a release: breaks where it is asked for what $BROKEN names.
RELEASE = """#!/bin/bash
mkdir -p dist && touch dist/crons.whl
if [[ $* == *$BROKEN* ]]; then
    echo "$BROKEN is broken"
    exit 3
fi
"""


def test_release_tries_each_django_that_it_promises(call):
    """A classifier is a promise: nobody may be the first to try that Django."""
    done = call("scripts/release.sh", RELEASE, BROKEN="nothing")

    assert (done.returncode, done.stderr) == (0, "")
    steps = [line.split(" on Python")[0].split(" (at")[0] for line in done.stdout.splitlines()]
    assert steps[:4] == ["ok      changelog", "ok      build", "ok      twine", "ok      contents"]
    # "left out" where this machine has no Python that takes it.
    assert [step.removeprefix("ok      ").removeprefix("left out ") for step in steps[4:]] == [
        "Django 5.2",
        "Django 6.0",
        "Django 6.1",
        "── dist holds: crons.whl",
    ]


def test_release_ends_at_the_first_failure_and_names_it(call):
    """What follows a wheel that is wrong says nothing about it."""
    done = call("scripts/release.sh", RELEASE, BROKEN="twine")

    assert done.returncode == 1
    assert [line.partition(" (at")[0] for line in done.stdout.splitlines()] == [
        "ok      changelog",
        "ok      build",
        "        twine is broken",
    ]
    assert done.stderr.startswith("FAILED  twine: ")
    assert len(done.stderr.splitlines()) == 1


def test_release_without_its_section_in_the_changelog_ends_there(call, tmp_path):
    """Who installs a version wants to read what it does."""
    (tmp_path / "changelog").write_text("# Changelog\n\n## Unreleased\n\n## 0.1.0rc1\n\n## 10.1.0\n")

    done = call("scripts/release.sh", RELEASE, changelog=tmp_path / "changelog", BROKEN="nothing")

    assert (done.returncode, done.stdout) == (1, "        CHANGELOG.md has no section for 0.1.0\n")
    assert done.stderr == "FAILED  changelog: is_in_the_changelog\n"


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


# Stands for Sphinx: writes one page that loads what $LOADED names.
SITE = """#!/bin/bash
mkdir -p "${@: -1}/docs" && echo "<script src=\\"$LOADED\\"></script>" > "${@: -1}/docs/index.html"
"""


def test_site_lists_the_versions_that_are_there_newest_first(call, tmp_path):
    """A version that was built earlier stays, and 0.10 is newer than 0.9."""
    for earlier in ("0.0.9", "0.0.10"):
        (tmp_path / "site" / earlier).mkdir(parents=True)

    done = call("scripts/docs.sh", SITE, LOADED="../_static/search.js")

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "site" / "versions.js").read_text() == 'const CRONS_VERSIONS = ["0.1.0", "0.0.10", "0.0.9"];\n'
    assert 'url=0.1.0/docs/index.html"' in (tmp_path / "site" / "index.html").read_text()
    assert 'url=docs/index.html"' in (tmp_path / "site" / "0.1.0" / "index.html").read_text()


@pytest.mark.parametrize("address", ["https://cdn.example.com/x.js", "//cdn.example.com/x.js"])
def test_site_that_loads_from_another_host_is_refused(call, address: str):
    """Its readers may have no way to the internet, and no wish to tell others what they read."""
    done = call("scripts/docs.sh", SITE, LOADED=address)

    assert done.returncode == 1
    assert done.stderr.startswith("These pages load something from another host:\nsite/0.1.0/docs/index.html:1:")
