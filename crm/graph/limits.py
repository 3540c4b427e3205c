"""Limits on what one document may ask. The cheapest question comes first: a refusal must cost less than the request.

length → JSON → tokens, while parsing → size → validation, which stops at the first mistakes and suggests
nothing to those who may not read the schema → the variables. Who shows neither a token nor a staff login gets a small
budget: there is one field for strangers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
from django.http import HttpRequest
from graphql import GraphQLError, OperationDefinitionNode, OperationType, get_operation_ast, validate
from graphql.execution.values import get_variable_values
from strawberry.extensions import SchemaExtension

from crm.graph import budget as budgets
from crm.graph import sizes
from crm.graph.checked import Checked, Documents
from crm.graph.errors import ClientError
from crm.graph.media import STREAM, wants_stream
from crm.graph.permissions import may_introspect
from crm.graph.sizes import Size, too_large


@dataclass(frozen=True)
class Budget:
    """How much one request may ask for. *errors*: how many of a refused document are answered, the first ones."""

    body_bytes: int
    characters: int
    tokens: int
    definitions: int
    aliases: int
    fields: int
    values: int
    inputs: int
    cost: int
    errors: int
    suggests: bool
    depth: int = sizes.MAX_DEPTH


KNOWN = Budget(
    body_bytes=100_000,
    characters=20_000,
    tokens=1_000,
    definitions=25,
    aliases=15,
    fields=500,
    values=500,
    inputs=20_000,
    cost=5_000,
    errors=5,
    suggests=True,
)
STRANGER = Budget(
    body_bytes=4_000,
    characters=2_000,
    tokens=250,
    definitions=10,
    aliases=5,
    fields=50,
    values=30,
    inputs=30,
    cost=5_000,
    errors=3,
    suggests=False,
)


# By schema: what one has validated says nothing of another. 300 bytes for each character at most were measured.
_DOCUMENTS: WeakKeyDictionary[Any, Documents] = WeakKeyDictionary()


def documents_of(schema: Any) -> Documents:
    """Give the documents that *schema* has validated."""
    return _DOCUMENTS.setdefault(schema, Documents(most_characters=100_000))


def budget_of(request: HttpRequest | None) -> Budget:
    """Give what *request* may ask for."""
    return KNOWN if settings.DEBUG or may_introspect(request) else STRANGER


def check(size: Size, budget: Budget = KNOWN) -> None:
    """Refuse what is above *budget*.

    Raises: ClientError with code TOO_LARGE, the figure and the limit.
    """
    for name in ("depth", "aliases", "fields", "values", "cost"):
        if (value := getattr(size, name)) > (limit := getattr(budget, name)):
            raise too_large(name, value, limit)


class Limits(SchemaExtension):
    """Refuse a document that is too large, wrong, or asks anonymously for the schema, at the least cost."""

    def on_operation(self) -> Iterator[None]:
        context = self.execution_context
        self._request = getattr(context.context, "request", None)
        self._balance: budgets.Balance | None = None
        self._cost = budgets.REFUSED_COST
        self._is_paid = False
        budget = self._budget = budget_of(self._request)
        # What graphql-core's parser takes; strawberry's type of them knows but one.
        options: Any = context.parse_options
        context.parse_options = options | {
            "max_lexical_tokens": budget.tokens,
            "max_comments": budget.tokens,
            "max_source_length": budget.characters,
        }
        yield
        # What could not be parsed never came to validation.
        if not self._is_paid and context.result is not None and (refused := self._pay(budgets.REFUSED_COST)):
            context.result.errors = refused

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        # Not by the text alone: what a stranger may not ask is refused by its size, of which a kept one is not asked.
        self._kept = documents_of(context.schema).get(context.query) if self._budget is KNOWN else None
        if self._kept is not None:
            context.graphql_document = self._kept.document
        yield

    def on_validate(self) -> Iterator[None]:
        # Set before validation, this skips strawberry's own, which reports up to a hundred mistakes with suggestions.
        try:
            errors = self._errors()
        except ClientError as error:
            errors = [error]
        refused = self._pay(budgets.REFUSED_COST if errors else self._cost)
        self.execution_context.pre_execution_errors = refused or errors
        yield

    def get_results(self) -> dict[str, Any]:
        """Give what the request has cost, for the extensions of its answer."""
        return {"cost": self._balance.shown()} if self._balance else {}

    def _pay(self, cost: int) -> list[GraphQLError]:
        """Take *cost* from the budget of who asks; the error where it does not fit."""
        self._is_paid = True
        self._balance = budgets.charge(self._request, cost)
        return [budgets.refusal(self._balance)] if self._balance and self._balance.wait_seconds else []

    def _errors(self) -> list[GraphQLError]:
        context, budget = self.execution_context, self._budget
        document = context.graphql_document
        assert document is not None
        if len(document.definitions) > budget.definitions:
            raise too_large("operations and fragments", len(document.definitions), budget.definitions)
        if (inputs := sizes.count(context.variables)) > budget.inputs:
            raise too_large("variables", inputs, budget.inputs)
        kept = self._kept
        size = kept.size if kept and kept.size else sizes.measure(document, context.variables)
        asked = get_operation_ast(document, context.operation_name)
        if asked is not None and asked.operation is OperationType.SUBSCRIPTION and not self._streams():
            raise ClientError("BAD_USER_INPUT", f"A subscription is streamed. Send Accept: {STREAM}.")
        if size.introspects and not budget.suggests:
            raise ClientError("INTROSPECTION_OFF", "The schema is shown to staff and to service tokens only.")
        check(size, budget)
        self._cost = size.cost
        found: list[GraphQLError] = []
        if kept is None:
            found = validate(
                context.schema._schema,
                document,
                context.validation_rules,
                max_errors=budget.errors,
                hide_suggestions=not budget.suggests,
            )
            if not found and budget is KNOWN and context.query:
                documents_of(context.schema).keep(context.query, Checked.of(document, size))
        return (found or self._errors_of_variables(asked))[: budget.errors]

    def _streams(self) -> bool:
        request = getattr(self.execution_context.context, "request", None)
        return request is None or wants_stream(request.headers.get("Accept"))

    def _errors_of_variables(self, asked: OperationDefinitionNode | None) -> list[GraphQLError]:
        context = self.execution_context
        if asked is None:  # execution says so
            return []
        found = get_variable_values(
            context.schema._schema,
            asked.variable_definitions or (),
            context.variables or {},
            max_errors=self._budget.errors,
            hide_suggestions=not self._budget.suggests,
        )
        return found if isinstance(found, list) else []
