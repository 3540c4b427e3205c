"""What a job's source says of fences: whether it uses `context.atomic`. Read, never run."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

FENCE = "atomic"


def uses_atomic(body: Callable[..., Any]) -> bool:
    """Say whether *body*, or a function of its own module that it names, directly or by others, uses a fence.

    A fence is `.atomic` of anything but a module, as `transaction.atomic` is. False where there is no source: what a
    command or a program writes cannot be fenced.
    """
    seen: set[CodeType] = set()
    left = [inspect.unwrap(body)]
    while left:
        function = left.pop()
        if not isinstance(function, FunctionType) or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        tree = _tree(function)
        if _has_fence(tree, function.__globals__):
            return True
        left += _named_of_its_module(tree, function)
    return False


def _tree(function: FunctionType) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])  # typed at a prompt, or cut out of an expression


def _has_fence(tree: ast.AST, names: dict[str, Any]) -> bool:
    imported = {alias.asname or alias.name.partition(".")[0] for alias in _imports(tree)}
    modules = imported | {name for name, value in names.items() if isinstance(value, ModuleType)}
    found = (node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == FENCE)
    return any(_root(value) not in modules for value in found)


def _imports(tree: ast.AST) -> Iterator[ast.alias]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from node.names


def _root(value: ast.expr) -> str:
    """Return the first name of a.b.c; "" of anything else, as of a call."""
    while isinstance(value, ast.Attribute):
        value = value.value
    return value.id if isinstance(value, ast.Name) else ""


def _named_of_its_module(tree: ast.AST, function: FunctionType) -> Iterator[Any]:
    for node in ast.walk(tree):
        value = function.__globals__.get(node.id) if isinstance(node, ast.Name) else None
        # By the type first: of a proxy, as Celery's current_app is, one does not ask for attributes.
        if isinstance(value, FunctionType) and value.__module__ == function.__module__:
            yield inspect.unwrap(value)
