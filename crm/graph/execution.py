"""How a document is carried out: as graphql-core does it, but what only reads an attribute is only read.

A page of 50 customers with five orders each has a thousand fields, and most are columns of rows that are at hand.
For each of them graphql-core and strawberry make a path and an info, look for arguments, and for something to await.
Here all that is looked up once for each selection. A value that is out of the ordinary goes the general way, so that
answers and errors are the same: tests/crm/test_graphql_execution.py compares them.
"""

import asyncio
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from graphql import (
    GraphQLObjectType,
    Undefined,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_object_type,
)
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.schema_converter import GraphQLCoreConverter, get_arguments
from strawberry.types.field import StrawberryField

# Metadata of a field: its resolver takes root and info, and does not change its arguments, which are then converted
# once for all parents.
SHARES_ARGUMENTS = "shares_arguments"
# Attribute of a type: gives the global id of its row.
READ_ID = "read_id"
# What is a value at once: no exception, no null, nothing to await. By exact type.
_PLAIN = frozenset({str, int, bool, float, Decimal, datetime, date, time})


class Step(NamedTuple):
    """One field of a selection, and the short ways to it. None is the general way.

    *read* gives its value of a source; *call*, where it has arguments, of a source and an info. *coerce* makes a leaf
    of the answer of it; *inner* is its type where that is an object, or *item* where it is a list of objects.
    """

    name: str
    details: Any
    field: Any
    read: Callable[[Any], Any] | None = None
    call: Callable[[Any, Any], Any] | None = None
    coerce: Callable[[Any], Any] | None = None
    inner: Any = None
    item: Any = None


class Execution(StrawberryGraphQLCoreExecutionContext):
    """An execution that takes the short ways; the general ones where a loop runs, for there fields may be awaited."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._may_await = asyncio._get_running_loop() is not None
        self._steps: dict[tuple[Any, int], tuple[Any, list[Step]]] = {}

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Any,
        grouped_field_set: Any,
        position_context: Any,
    ) -> Any:
        """Give the answer of a selection on *source_value*."""
        if self._may_await:
            return super().execute_fields(parent_type, source_value, path, grouped_field_set, position_context)
        answer: dict[str, Any] = {}
        for step in self._steps_of(parent_type, grouped_field_set):
            name, details, field, read, call, coerce, _, _ = step
            if read is None and call is None:
                here = Path(path, name, parent_type.name)
                done = self.execute_field(parent_type, source_value, details, here, position_context)
                if done is not Undefined:
                    answer[name] = done
                continue
            try:
                if coerce is not None and read is not None:
                    value = read(source_value)
                    if type(value) in _PLAIN and (done := coerce(value)) is not None and done is not Undefined:
                        answer[name] = done
                        continue
                    here = Path(path, name, parent_type.name)
                    info = self.build_resolve_info(field, [each.node for each in details], parent_type, here)
                else:
                    here = Path(path, name, parent_type.name)
                    info = self.build_resolve_info(field, [each.node for each in details], parent_type, here)
                    value = call(source_value, info) if call is not None else read(source_value)  # type: ignore[misc]
                answer[name] = self._complete(step, info, here, value, position_context)
            except Exception as error:  # noqa: BLE001 (graphql-core's way: noted, or raised for what is around it)
                self.handle_field_error(error, field.type, details, Path(path, name, parent_type.name))
                answer[name] = None
        return answer

    def _complete(self, step: Step, info: Any, here: Path, value: Any, position_context: Any) -> Any:
        if step.inner is not None and value is not None and not isinstance(value, Exception):
            return self.complete_object_value(step.inner, step.details, info, here, value, position_context)
        if step.item is None or type(value) is not list:
            return self.complete_value(step.field.type, step.details, info, here, value, position_context)
        item_type = get_nullable_type(step.field.type).of_type
        items: list[Any] = []
        for index, each in enumerate(value):
            at = Path(here, index, None)
            try:
                if each is None or isinstance(each, Exception):
                    done = self.complete_value(item_type, step.details, info, at, each, position_context)
                else:
                    done = self.complete_object_value(step.item, step.details, info, at, each, position_context)
                items.append(done)
            except Exception as error:  # noqa: BLE001 (as above)
                self.handle_field_error(error, item_type, step.details, at)
                items.append(None)
        return items

    def _steps_of(self, parent_type: GraphQLObjectType, grouped: Any) -> list[Step]:
        key = (parent_type, id(grouped))
        found = self._steps.get(key)
        if found is None:
            steps = [self._step(parent_type, name, details) for name, details in grouped.items()]
            found = self._steps[key] = (grouped, steps)  # kept with it, for its id is given anew once it is gone
        return found[1]

    def _step(self, parent_type: GraphQLObjectType, name: str, details: Any) -> Step:
        node = details[0].node
        field: Any = self.schema.get_field(parent_type, node.name.value)
        ours = field and field.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        middlewares = getattr(self.middleware_manager, "middlewares", ())
        if not isinstance(ours, StrawberryField) or ours.extensions or middlewares:
            return Step(name, details, field)
        if ours.is_async:
            raise RuntimeError(f"{parent_type.name}.{name} is to be awaited, and no loop runs here.")
        read = call = None
        if ours.metadata.get(SHARES_ARGUMENTS):
            call = self._caller(ours, field, details[0])
        elif not field.args and not node.arguments:
            read = _reader(parent_type, node.name.value, ours)
        kind: Any = get_nullable_type(field.type)
        item: Any = get_nullable_type(kind.of_type) if is_list_type(kind) else None
        return Step(
            name,
            details,
            field,
            read,
            call,
            kind.coerce_output_value if is_leaf_type(kind) else None,
            kind if is_object_type(kind) else None,
            # With a directive it may come in parts: that is graphql-core's.
            item if is_object_type(item) and not node.directives else None,
        )

    def _caller(self, ours: StrawberryField, field: Any, details: Any) -> Callable[[Any, Any], Any]:
        schema: Any = self.schema
        config, converter = schema._strawberry_schema.config, schema._strawberry_schema.schema_converter
        resolver: Any = ours.base_resolver
        shared: dict[str, Any] | None = None

        def call(source: Any, raw: Any) -> Any:
            nonlocal shared
            info = config.info_class(_raw_info=raw, _field=ours)
            if shared is None:
                given = get_argument_values(
                    field, details.node, self.variable_values, details.fragment_variable_values, self.hide_suggestions
                )
                registry = converter.scalar_registry
                _, shared = get_arguments(
                    field=ours, source=source, info=info, kwargs=given, config=config, scalar_registry=registry
                )
            return resolver.wrapped_func(**{**shared, "root": source, "info": info})

        return call


def _reader(parent_type: GraphQLObjectType, name: str, field: StrawberryField) -> Callable[[Any], Any] | None:
    """Give what reads *field* of a value of *parent_type*; None where that takes more than the value."""
    if field.is_basic_field:
        return attrgetter(field.python_name) if field.default_resolver is getattr else None
    origin = parent_type.extensions[GraphQLCoreConverter.DEFINITION_BACKREF].origin
    if name == "id" and (read_id := getattr(origin, READ_ID, None)):
        return read_id
    resolver: Any = field.base_resolver
    takes_more = (
        not resolver.self_parameter
        or resolver.arguments
        or resolver.info_parameter
        or resolver.parent_parameter
        or resolver.root_parameter
    )
    return None if takes_more else resolver.wrapped_func
