"""Check that every process that needs jobs imports what declares them.

Nothing else is imported for it: the texts of the project's modules say what they import and what they declare.
"""

from __future__ import annotations

import ast
import os
import re
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from crons.checks.asking import is_asked_for, of_declarations
from crons.checks.base import TAG
from crons.jobs import registry
from crons.sources import sources

DECLARING = {
    f"{module}.{name}"
    for module in ("crons", "crons.jobs")
    for name in ("job", "command", "shell", "schedule", "entry")
}
NAMES_CRONS = re.compile(rb"^\s*(?:from|import)\s+crons\b", re.MULTILINE)
SKIPPED = ("__pycache__", "migrations", "node_modules", "venv")
LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib", "stdlib")})


@register(TAG)
@of_declarations  # which are loaded before: Django runs checks in no order, and registry.modules is empty until then
def check_elsewhere() -> Iterator[CheckMessage]:
    """Check that no module declares jobs which only the processes that happen to import it know."""
    if not is_asked_for():
        return
    modules = dict(_modules_of_project())
    declaring = {name: found for name in modules if (found := list(_declared(modules[name])))}
    strays = set(declaring) - set(registry.modules)
    if not strays:
        return
    known = _imported_from([*registry.modules, *_named_by_sources(), *_imported_everywhere(modules)], modules)
    for name in sorted(strays - known):
        lines = ", ".join(f"line {line}" for line in declaring[name])
        yield Warning(
            f"{name} declares jobs ({modules[name]}, {lines}), and not every process imports it: a scheduler that "
            "does not begins none of them.",
            hint=f"Move them into a module called cron, import {name} there, or name it: "
            f"CRONS = {{'MODULES': [{name!r}]}}. A test declares inside `with crons.testing.sandbox():`.",
            id="crons.W073",
        )


def _modules_of_project() -> Iterator[tuple[str, Path]]:
    """Give the modules of the project's own packages: those of its settings, and of apps that are no libraries."""
    packages = {config.name: Path(config.path) for config in apps.get_app_configs()}
    for module in (settings.SETTINGS_MODULE, getattr(settings, "ROOT_URLCONF", "")):
        top = str(module).partition(".")[0]
        spec = find_spec(top) if top and "." in str(module) else None
        for place in (spec.submodule_search_locations or ()) if spec else ():
            packages.setdefault(top, Path(place))
    for package, folder in packages.items():
        if package == "crons" or package.startswith("crons.") or f"{folder}{os.sep}".startswith(LIBRARIES):
            continue
        for file in _files_below(folder):
            parts = file.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), file


def _files_below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if each.isidentifier() and each not in SKIPPED]
        for each in files:
            if each.endswith(".py") and each.removesuffix(".py").isidentifier():
                yield Path(place, each)


def _named_by_sources() -> Iterator[str]:
    """Name the modules that sources have imported wherever jobs are needed."""
    return (module for source in sources() for module in source.modules())


def _imported_everywhere(modules: Iterable[str]) -> Iterator[str]:
    """Name what Django itself imports in each process: settings, and of each app its package, models and apps."""
    yield str(settings.SETTINGS_MODULE)  # None after settings.configure()
    for config in apps.get_app_configs():
        yield from (config.name, f"{config.name}.models", type(config).__module__)
        yield from (name for name in modules if name.startswith(f"{config.name}.models."))


def _imported_from(roots: Iterable[str], modules: dict[str, Path]) -> set[str]:
    """Name the modules that are imported where *roots* are, by themselves or by what they import."""
    found: set[str] = set()
    left = list(roots)
    while left:
        name = left.pop()
        around = name.rpartition(".")[0]
        if around and around not in found:
            left.append(around)
        if name not in found and name in modules:
            found.add(name)
            left += _imports(name, modules[name])
    return found


def _imports(name: str, file: Path) -> Iterator[str]:
    """Name what *file* imports when it is imported itself; of apps.py also what its ready() does."""
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    for node in _walk(_parsed(file), inside_functions=file.stem == "apps"):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            parts = parts[: len(parts) - node.level + 1] if node.level else []
            start = ".".join([*parts, *filter(None, [node.module])])
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)


def _declared(file: Path) -> Iterator[int]:
    """Give the lines on which *file* declares jobs when it is imported."""
    try:
        if not NAMES_CRONS.search(file.read_bytes()):
            return
    except OSError:
        return
    tree = _parsed(file)
    means = dict(_meanings(tree))
    for node in _walk(tree):
        if isinstance(node, ast.Call) and _full_name(node.func, means) in DECLARING:
            yield node.lineno


def _meanings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Give the names that *tree* imports under others than their own, with what they stand for."""
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def _full_name(called: ast.expr, means: dict[str, str]) -> str:
    """Name what is called as if nothing had been renamed; empty for what is no name with dots."""
    if isinstance(called, ast.Name):
        return means.get(called.id, called.id)
    if isinstance(called, ast.Attribute) and (before := _full_name(called.value, means)):
        return f"{before}.{called.attr}"
    return ""


def _walk(node: ast.AST, *, inside_functions: bool = False) -> Iterator[ast.AST]:
    """Give the nodes below *node* that run when the module is imported, decorators of functions among them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside_functions:
            for decorator in getattr(child, "decorator_list", ()):
                yield decorator
                yield from _walk(decorator)
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith(("TYPE_CHECKING", "__name__ == '__main__'")):
            continue
        yield child
        yield from _walk(child, inside_functions=inside_functions)


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])
