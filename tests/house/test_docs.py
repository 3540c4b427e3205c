"""The documents say what the code does: every name, default, flag, word and link in them."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import crons
from crons import api
from crons.conf import DEFAULTS, default_executors
from crons.executors.runner import Context
from crons.jobs import Registry
from crons.jobs.policies import Policy
from crons.management.verbs import VERBS, load
from crons.verdicts import MEANINGS, Kind, Outcome, Reason, State, Verdict

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")]
)
ADRS = sorted((DOCS / "adr").glob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
RUNNABLE = re.compile(r"<!-- runnable: (?P<names>[\w, ]+) -->\n```python\n(?P<code>.*?)```", re.DOTALL)
EXAMPLES = [
    pytest.param(match["names"].split(", "), match["code"], id=f"{page.stem}-{number}")
    for page in (ROOT / "README.md", DOCS / "start.md")
    for number, match in enumerate(RUNNABLE.finditer(page.read_text()))
]


def sections(page: Path, level: str) -> dict[str, str]:
    """Return the texts below the headings of one level, by heading, without the heading's backticks."""
    parts = re.split(rf"^{level} (.+)$", page.read_text(), flags=re.MULTILINE)[1:]
    return {
        name.strip("`"): re.split(rf"^#{{1,{len(level)}}} ", text, flags=re.MULTILINE)[0]
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows whose first cell begins with code."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def names(text: str) -> list[str]:
    """Return every code word of a table's first column."""
    return [name.replace("\\|", "|") for row in rows(text) for name in re.findall(r"`([^`]+)`", row[0])]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings have on the usual hosts."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_setting_has_its_heading_and_its_default():
    """An operator reads defaults here at night, and believes them."""
    documented = sections(REFERENCE / "settings.md", "###")

    found = {name: re.search(r"^Default: `(.+)`$", text, re.MULTILINE) for name, text in documented.items()}

    assert list(documented) == list(DEFAULTS)
    values = {name: eval(match[1], {"timedelta": timedelta}) for name, match in found.items() if match}
    assert values == {**DEFAULTS, "EXECUTORS": default_executors()}


def test_every_variable_of_the_crm_is_in_the_settings_page():
    """A variable that is only in the code is found by nobody."""
    read = set(re.findall(r"[\"'](CRM_[A-Z_]+|DATABASE_URL)[\"']", (ROOT / "crm" / "settings.py").read_text()))

    documented = set(names((DOCS / "crm" / "settings.md").read_text()))

    assert read - documented == set()
    assert {"CRM_DEBUG", "DATABASE_URL"} <= read


def test_every_verb_has_its_heading():
    """The page and the command list the same verbs, in the same order."""
    documented = [name for name in sections(REFERENCE / "cli.md", "##") if name != "For all verbs"]

    assert documented == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_is_in_its_table(verb: str):
    """Flags are copied from here into crontabs."""
    parser = argparse.ArgumentParser(add_help=False)
    load(verb).add_arguments(parser)
    taken = [option for action in parser._actions for option in action.option_strings or [str(action.metavar)]]

    section = sections(REFERENCE / "cli.md", "##")[verb]
    table = section.partition("| option |")[2].partition("\n\n")[0]

    assert names(table) == taken
    assert ("It has no options of its own." in section) == (not taken)


@pytest.mark.parametrize(
    ("heading", "words"),
    [("State", State), ("Outcome", Outcome), ("Verdict", Verdict), ("Reason", Reason), ("Kind", Kind)],
)
def test_every_word_of_the_ledger_is_explained(heading: str, words: Any):
    """A word in a table that nobody explains is a call at night."""
    documented = rows(sections(REFERENCE / "verdicts.md", "##")[heading])

    assert [row[0].strip("`") for row in documented] == [word.value for word in words]
    if words in (Verdict, Reason):
        assert {row[0].strip("`"): row[1] for row in documented} == {word: MEANINGS[word] for word in words}


def test_every_public_name_is_documented():
    """What `from crons import …` gives is a promise."""
    documented = sections(REFERENCE / "jobs.md", "##")

    assert sorted(set(documented) - {"Policies", "Errors", "A job's process"}) == sorted(crons.__all__)


def test_every_policy_is_documented_with_its_default():
    """Defaults decide what happens to a job that says nothing."""
    table = rows(sections(REFERENCE / "jobs.md", "##")["Policies"])

    defaults = {
        row[0].strip("`"): eval(row[1].strip("`"), {"timedelta": timedelta, "Retry": crons.Retry}) for row in table
    }

    assert defaults == {name: getattr(Policy(), name) for name in Policy.__dataclass_fields__}


def test_every_field_of_the_context_is_documented():
    """A job's author has nothing else to go by."""
    assert names(sections(REFERENCE / "jobs.md", "##")["Context"]) == list(Context.__dataclass_fields__)


def test_every_error_is_documented():
    """An error that is caught by name must have one."""
    module = importlib.import_module("crons.exceptions")
    classes = {name: value for name, value in vars(module).items() if inspect.isclass(value)}
    errors = [name for name, value in classes.items() if value.__base__ is not object and name != "CronsError"]

    assert names(sections(REFERENCE / "jobs.md", "##")["Errors"]) == errors


def test_every_operation_is_documented():
    """api.py is public as a whole."""
    functions = {name for name, value in vars(api).items() if inspect.isfunction(value) and name[0] != "_"}
    own = {name for name in functions if getattr(api, name).__module__ == api.__name__}

    assert set(sections(REFERENCE / "api.md", "##")) - {"Signals"} == own


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    """Relative links resolve to a file, and their anchors to a heading."""
    targets = [link for link in LINK.findall(FENCE.sub("", page.read_text())) if not link.startswith("http")]

    broken = [link for link in targets if not _leads_somewhere(page, *link.partition("#")[::2])]

    assert broken == []


def _leads_somewhere(page: Path, path: str, anchor: str) -> bool:
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_a_page_cites_exist(page: Path):
    """A claim is as good as the test that shows it."""
    cited = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()))

    missing = [f"{path}::{name}" for path, name in sorted(cited) if f"def {name}(" not in _text(ROOT / path)]

    assert missing == []


def test_walks_name_only_what_is_there():
    """Who follows a walk must not stand before a wall: each file is there, and each name is defined in it."""
    steps = re.findall(r"^\d+\. `([\w/.]+)`(?: `(\w+)`)?:", (DOCS / "architecture.md").read_text(), re.MULTILINE)

    missing = [
        f"{path} {name}"
        for path, name in steps
        if not re.search(rf"^ *(def|class) {name}\b" if name else "", _text(ROOT / path), re.M)
    ]

    assert len(steps) > 40
    assert missing == []
    assert [path for path, name in steps if not (ROOT / path).exists()] == []


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_every_page_is_in_the_contents():
    """A page that nothing links to is not read."""
    index = DOCS / "index.md"

    linked = {(DOCS / link).resolve() for link in LINK.findall(index.read_text())}

    assert linked >= set(DOCS.rglob("*.md")) - {index}


def test_readme_names_only_targets_that_exist():
    """The first command that somebody types must work."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"^(?:.*`)?make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))

    assert {"run", "test"} <= named <= targets


@pytest.mark.parametrize(("declared", "code"), EXAMPLES)
def test_examples_declare_what_they_show(declared: list[str], code: str, crons_sandbox: Registry):
    """The lines that a newcomer copies are run as they stand."""
    exec(compile(code, "example", "exec"), {"__name__": "stock.cron"})

    assert list(crons_sandbox.entries) == declared


def test_both_first_pages_have_an_example():
    """A marker that is misspelt would leave the test above without work."""
    assert [parameter.id for parameter in EXAMPLES] == ["README-0", "start-0"]


def test_decisions_are_numbered_without_gaps():
    """A decision is cited by its number."""
    titles = [page.read_text().partition("\n")[0] for page in ADRS]

    assert [title[:8] for title in titles] == [f"# {number:04}. " for number in range(1, len(ADRS) + 1)]
    assert [page.name[:4] for page in ADRS] == [title[2:6] for title in titles]


@pytest.mark.parametrize("page", ADRS, ids=lambda page: page.stem)
def test_a_decision_is_one_paragraph(page: Path):
    """A title that is the decision, and why; what needs more is a page of the documents."""
    title, empty, *lines = page.read_text().split("\n")

    assert (title[:2], empty, lines[-1]) == ("# ", "", "")
    assert all(lines[:-1])
