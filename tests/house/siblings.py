"""How many modules of crons each of them imports: a package counts once for all that it hands on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import crons

HERE = Path(crons.__file__).parent


@cache
def modules() -> dict[str, Path]:
    """Return the file of each module, by its dotted name; migrations are not read."""
    files = (path for path in HERE.rglob("*.py") if "migrations" not in path.parts)
    return {_name(path): path for path in sorted(files)}


@cache
def siblings(module: str) -> frozenset[str]:
    """Return what *module* imports of crons, at its top and inside functions."""
    return frozenset(_imported(module)) - {module}


def _name(path: Path) -> str:
    parts = path.relative_to(HERE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(module: str) -> Iterator[str]:
    for source, name in _statements(module):
        # `from crons.jobs import registry` is what the package hands on, though a file there is called so too.
        is_module = f"{source}.{name}" in modules() and name not in _handed_on(source)
        yield f"{source}.{name}" if is_module else source


@cache
def _handed_on(package: str) -> frozenset[str]:
    if modules()[package].name != "__init__.py":
        return frozenset()
    return frozenset(name for source, name in _statements(package) if source != package)


def _statements(module: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative"  # none is; they would have to be resolved
            if node.module and node.module.partition(".")[0] == "crons":
                yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            named = [alias.name for alias in node.names if alias.name.partition(".")[0] == "crons"]
            yield from (("crons", name.removeprefix("crons.")) for name in named)
