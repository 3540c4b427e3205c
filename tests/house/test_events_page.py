"""One vocabulary of events: what the code says, what the table holds, and what the page tells are the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import crons
from crons.events import EVENTS

HERE = Path(crons.__file__).parent
PAGE = (HERE.parent / "docs" / "howto" / "logs.md").read_text()
SAID = re.compile(r'"event": "([\w.]+)"')


def test_each_event_stands_in_the_table_and_is_said_somewhere():
    """A misspelt one would pass every filter of a log collector in silence."""
    said = {name for path in HERE.rglob("*.py") for name in SAID.findall(path.read_text())}

    assert said == set(EVENTS)


def test_the_page_has_each_event_with_its_fields():
    rows = dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| ([^|]*) \|", PAGE, re.MULTILINE))

    assert {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows.items()} == EVENTS


def test_no_line_of_the_log_hides_what_it_is_about_in_a_name_of_its_own():
    """`extra` with an event of another form, or put together at run time, could not be found above."""
    odd = [path.name for path in HERE.rglob("*.py") if re.search(r"[\"']event[\"']: (?!\")", path.read_text())]

    assert [name for name in odd if name not in ("events.py", "outbox.py")] == []


def test_each_warning_and_error_names_its_event():
    """Who filters by events would miss what goes wrong."""
    nameless = [f"{path.name}:{line}" for path in HERE.rglob("*.py") for line in _nameless(ast.parse(path.read_text()))]

    assert nameless == []


def test_a_nameless_line_is_found():
    """Else the test above would pass over whatever it cannot read."""
    lines = (
        'log.error("x")',
        'self._log.warning("x", extra={"entry": 1})',
        'logger.exception("x", extra=about)',
        'about = {"entry": 1}; log.warning("x", extra=about)',
        'Timer(1, log.warning, ("x",))',
        'log.error("x", extra={"event": "turn.failed"})',
        'Timer(1, log.warning, ("x",), {"extra": {"event": "turn.failed"}})',
        'about = {"event": "turn.failed"}; log.error("x", extra=about)',
    )

    assert [list(_nameless(ast.parse(line))) for line in lines] == [[1], [1], [1], [1], [1], [], [], []]


def _nameless(tree: ast.Module) -> Iterator[int]:
    """Yield the lines of calls that log a warning or an error, and name no event in a dict of their file."""
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _has_event(node.value):
            named |= {each.id for each in node.targets if isinstance(each, ast.Name)}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            pairs = zip(node.targets[0].elts, node.value.elts, strict=False) if _is_tuple(node.targets[0]) else ()
            named |= {each.id for each, value in pairs if isinstance(each, ast.Name) and _has_event(value)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if _logs(node.func):
            extra = next((each.value for each in node.keywords if each.arg == "extra"), None)
        elif any(map(_logs, node.args)):  # handed on to be called later: its keywords are an argument
            found = (each for each in ast.walk(node) if isinstance(each, ast.Dict))
            extra = next((each for each in found if _has_event(each)), None)
        else:
            continue
        if not (_has_event(extra) or (isinstance(extra, ast.Name) and extra.id in named)):
            yield node.lineno


def _logs(node: ast.expr) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr not in ("warning", "error", "exception", "critical"):
        return False
    return ast.unparse(node.value).rpartition(".")[2].lstrip("_") in ("log", "logger")


def _is_tuple(node: ast.expr) -> bool:
    return isinstance(node, ast.Tuple)


def _has_event(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Dict) and any(isinstance(k, ast.Constant) and k.value == "event" for k in node.keys)
