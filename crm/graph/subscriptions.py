"""What can be watched: runs, and imports of customers. What a field shows is asked anew whenever it has changed."""

from collections.abc import Sequence
from typing import Any

import strawberry
from strawberry import Info

from crm.graph.ids import number_of
from crm.graph.imports import CustomerImport, Id
from crm.graph.permissions import require
from crm.imports.models import CustomerImport as ImportRow
from crons.contrib.graphql.schema import CronsSubscription, watch

_ENDED = (ImportRow.State.DONE, ImportRow.State.CANCELLED)


@strawberry.type
class Subscription(CronsSubscription):
    @strawberry.field(
        name="import",
        description="One import, whenever it has come further, until it has ended; null if there is none of this id. "
        "Needs imports:read.",
    )
    def import_(self, info: Info, id: Id) -> CustomerImport | None:
        require(info, "imports:read")
        row: Any = ImportRow.objects.filter(pk=number_of(id, "CustomerImport")).first()
        if row is not None:
            watch(info, imports_now, row.pk, is_over=row.state in _ENDED)
        return row


def imports_now(numbers: Sequence[int]) -> dict[int, Any]:
    """Give what changes of these imports, by their numbers. Cost: one statement."""
    rows = ImportRow.objects.filter(pk__in=numbers).values_list("pk", "state", "rows_done", "run")
    return {number: rest for number, *rest in rows}
