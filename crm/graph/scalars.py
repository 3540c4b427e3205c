"""The scalars that GraphQL does not have by itself, each with the specification of the text that stands for it."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from strawberry.schema.types.base_scalars import DateTimeDefinition, DecimalDefinition
from strawberry.types.scalar import ScalarDefinition

SCALARS: dict[object, ScalarDefinition] = {
    datetime: replace(
        DateTimeDefinition,
        description="A moment with its offset, as RFC 3339 writes it.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
    ),
    Decimal: replace(
        DecimalDefinition,
        description="A decimal number as text, exact; it may also be given as a number.",
        # The numeric strings of General Decimal Arithmetic, which Python's Decimal reads and writes.
        specified_by_url="https://speleotrove.com/decimal/daconvs.html",
    ),
}
