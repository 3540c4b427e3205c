"""The size of a document: how much it asks for, measured in one pass before it is validated or run.

A fragment is measured once and remembered: a document of n fragments that each spread the one before twice
is n measurements, where a walk that follows every spread takes 2 to the n.

What counts: *depth* is nested fields; *aliases* and *fields* count as the document expands, each spread anew;
*values* are what validation looks at one by one, as they are written: arguments, directives, variables, fields of
input objects and items of lists; *cost* is one for each field times the length of the lists around it: the page size
of a connection, the number of ids asked for, of items in the input of a bulk mutation, and a hundred for a list that
has no such bound. Counting a list costs as much as ten fields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphql import (
    ArgumentNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    ListTypeNode,
    ListValueNode,
    NonNullTypeNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    TypeNode,
    ValueNode,
    VariableNode,
)

from crm.graph.errors import ClientError

MAX_DEPTH = 10
MAX_PAGE = 100
MAX_NESTED_PAGE = 50
DEFAULT_PAGE = 50

# Braces within one definition: bounds the recursion below whatever the document looks like.
_MAX_NESTING = 25
_INTROSPECTION = frozenset({"__schema", "__type"})
_PAGED = "edges"
_COUNT = 10  # reads every row of the list, of which a page reads a few
# The list in payloads with one entry for each item of the input, and lists of what was found.
_PER_ITEM = "results"
_UNBOUNDED = frozenset({"products", "problems", "pieces"})


class Size(NamedTuple):
    """How much a selection asks for. *paged*: it selects edges, so the field around it is a connection.

    *per_item*: what is to be paid once for each item of the input around it.
    """

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    values: int = 0
    cost: int = 0
    per_item: int = 0
    introspects: bool = False
    paged: bool = False

    def beside(self, other: "Size") -> "Size":
        """Give the size of both together."""
        return Size(
            max(self.depth, other.depth),
            self.aliases + other.aliases,
            self.fields + other.fields,
            self.values + other.values,
            self.cost + other.cost,
            self.per_item + other.per_item,
            self.introspects or other.introspects,
            self.paged or other.paged,
        )


def measure(document: DocumentNode, variables: Mapping[str, Any] | None = None) -> Size:
    """Give the size of all operations of *document* together.

    Raises: ClientError for too many braces or brackets, before anything is walked that could be long.
    Cost: one visit of each node of the document.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    walk = _Walk(fragments, variables or {})
    total = Size()
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            total = total.beside(walk.selections(node.selection_set))
            for variable in node.variable_definitions or ():
                walk.values += 1
                walk.type(variable.type)
                walk.directives(variable.directives)
                walk.value(variable.default_value)
            walk.directives(node.directives)
    for fragment in fragments.values():
        walk.fragment(fragment.name.value)  # also those that nothing spreads are validated
        walk.directives(fragment.directives)
    return total._replace(values=walk.values)


def count(variables: Any) -> int:
    """Count the values in *variables*, those of objects and lists inside of them too."""
    found, waiting = 0, [variables or {}]
    while waiting:
        each = waiting.pop()
        inner = list(each.values()) if isinstance(each, dict) else each
        found += len(inner)
        waiting += [value for value in inner if isinstance(value, dict | list)]
    return found


@dataclass
class _Walk:
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: Mapping[str, Any]
    measured: dict[str, Size] = field(default_factory=dict)
    values: int = 0

    def selections(self, node: SelectionSetNode | None, nesting: int = 0) -> Size:
        if nesting > _MAX_NESTING:
            raise too_large("depth", nesting, MAX_DEPTH)
        total = Size()
        for selection in node.selections if node else ():
            self.directives(selection.directives)
            if isinstance(selection, FieldNode):
                size = self.field(selection, nesting)
            elif isinstance(selection, InlineFragmentNode):
                size = self.selections(selection.selection_set, nesting + 1)
            else:
                assert isinstance(selection, FragmentSpreadNode)
                size = self.fragment(selection.name.value)
            total = total.beside(size)
        return total

    def field(self, node: FieldNode, nesting: int) -> Size:
        name = node.name.value
        self.arguments(node.arguments)
        inner = self.selections(node.selection_set, nesting + 1)
        introspects = name in _INTROSPECTION
        size = self.page_size(node, inner)
        cost, per_item = inner.cost * size, inner.per_item * size
        if name == _PER_ITEM:
            cost, per_item = 0, cost + per_item
        elif given := [each.value for each in node.arguments or () if each.name.value == "input"]:
            cost, per_item = cost + per_item * self.items(given[0]), 0
        return Size(
            # The standard introspection query is deeper than any other; graphql-core bounds it by itself.
            depth=1 if introspects else inner.depth + 1,
            # Clients alias __typename freely, and it costs nothing.
            aliases=inner.aliases + (node.alias is not None and name != "__typename"),
            fields=inner.fields + 1,
            cost=(_COUNT if name == "totalCount" else 1) + cost,
            per_item=per_item,
            introspects=introspects or inner.introspects,
            paged=name == _PAGED,
        )

    def fragment(self, name: str) -> Size:
        if name not in self.measured:
            # Nothing yet: a fragment that spreads itself ends here, and validation refuses it with its cycle.
            self.measured[name] = Size()
            if name in self.fragments:
                self.measured[name] = self.selections(self.fragments[name].selection_set)
        return self.measured[name]

    def directives(self, nodes: Iterable[DirectiveNode] | None) -> None:
        for node in nodes or ():
            self.values += 1
            self.arguments(node.arguments)

    def arguments(self, nodes: Iterable[ArgumentNode] | None) -> None:
        for node in nodes or ():
            self.values += 1
            self.value(node.value)

    def value(self, node: ValueNode | None, nesting: int = 0) -> None:
        if nesting > _MAX_NESTING:
            raise too_large("nested values", nesting, _MAX_NESTING)
        if isinstance(node, ObjectValueNode):
            inner = [each.value for each in node.fields]
        else:
            inner = list(node.values) if isinstance(node, ListValueNode) else []
        self.values += len(inner)
        for each in inner:
            self.value(each, nesting + 1)

    def type(self, node: TypeNode) -> None:
        nesting = 0
        while isinstance(node, ListTypeNode | NonNullTypeNode):
            nesting += 1
            if nesting > _MAX_NESTING:
                raise too_large("nested values", nesting, _MAX_NESTING)
            node = node.type

    def page_size(self, node: FieldNode, inner: Size) -> int:
        paging = [each for each in node.arguments or () if each.name.value in ("first", "last")]
        sizes = [self.number(argument.value) for argument in paging]
        given = [size for size in sizes if size is not None]
        # Never under one: "first: 0" must not make what is below it free.
        unasked = DEFAULT_PAGE if inner.paged else MAX_PAGE if node.name.value in _UNBOUNDED else 1
        size = max(1, *given) if given else unasked
        return size * max([1, *(self.length(each.value) for each in node.arguments or () if each.name.value == "ids")])

    def items(self, given: Any) -> int:
        """Give the length of the longest list in the input *given*."""
        if isinstance(given, ObjectValueNode):
            return max([1, *(self.length(each.value) for each in given.fields)])
        if isinstance(given, VariableNode):
            values = self.variables.get(given.name.value)
            if isinstance(values, dict):
                return max([1, *(len(each) for each in values.values() if isinstance(each, list))])
        return MAX_PAGE

    def length(self, value: Any) -> int:
        if isinstance(value, VariableNode):
            given = self.variables.get(value.name.value)
            return len(given) if isinstance(given, list) else MAX_PAGE
        return len(value.values) if isinstance(value, ListValueNode) else 1

    def number(self, value: Any) -> int | None:
        if isinstance(value, IntValueNode):
            return int(value.value[:9])
        if isinstance(value, VariableNode):
            given = self.variables.get(value.name.value)
            # Not given: it may have a default in the document, so the largest page is assumed.
            return given if isinstance(given, int) else MAX_PAGE
        return None


def too_large(what: str, value: int, limit: int) -> ClientError:
    """Give the error for a document that is above a limit."""
    shown = value if value < 10**9 else "over 10^9"
    return ClientError("TOO_LARGE", f"The document's {what}: {shown}; at most {limit}. Ask for less, or in parts.")
