"""Imports of customers in the API: begun, gone on with, cancelled, followed; the rules are those of crm.imports."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import strawberry
from django.db import transaction
from django.utils import timezone
from strawberry import UNSET, Info, relay

from crm.graph import pages
from crm.graph.errors import UNAVAILABLE, ClientError
from crm.graph.ids import number_of
from crm.graph.pages import Asked, Connection
from crm.graph.payloads import Reads, UserError, user_errors
from crm.graph.permissions import name_of, require
from crm.graph.types import After, Before, First, Last, rows_of
from crm.imports import running
from crm.imports.files import NotCsv
from crm.imports.models import CustomerImport as ImportRow
from crm.imports.models import ImportProblem
from crm.problems import Code, Problem, Refused, is_text
from crons.exceptions import CronsError

LONGEST_NAME = 200
Id = Annotated[strawberry.ID, strawberry.argument(description="The id of a node, unchanged.")]
_STATE = ImportRow.State
strawberry.enum(_STATE, name="ImportState", description="How far an import has come.")


@rows_of(ImportProblem, description="A row of an import's file that became no customer.")
class RefusedRow:
    row: int = strawberry.field(description="Its number as a spreadsheet counts, the header being 1.")
    given: str = strawberry.field(description="What came, up to 500 characters.")
    problem: str = strawberry.field(description="What is wrong with it, for people.")


@rows_of(ImportRow, description="A CSV file of customers, and how far its import has come.")
class CustomerImport(relay.Node):
    id: relay.NodeID[int]
    pk: int = strawberry.field(description="The number people see.")
    name: str = strawberry.field(description="The name that the file was given.")
    started_by: str = strawberry.field(description="Who sent the file.")
    created_at: datetime = strawberry.field(description="When the file was sent.")
    ended_at: datetime | None = strawberry.field(description="When it was done or cancelled.")
    state: _STATE = strawberry.field(description="How far it has come.")
    rows_total: int = strawberry.field(description="How many rows the file has below its first line.")
    rows_done: int = strawberry.field(description="How many of them are judged.")
    made: int = strawberry.field(description="How many became customers.")
    refused: int = strawberry.field(description="How many did not.")
    run: strawberry.ID | None = strawberry.field(description="The run that worked at it last, for cronsRun.")

    @strawberry.field(description="The rows that became no customer, in the file's order.")
    def refused_rows(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[RefusedRow]:
        rows: Any = self  # the row of Django that the type stands for
        return pages.nested(
            rows, info, "of", lambda: (ImportProblem.objects.all(), ("row",)), _asked(first, after, last, before)
        )


@strawberry.input(description="A file as text, of the size that a body may have.")
class ImportText:
    name: str = strawberry.field(description=f"What people are shown of it, up to {LONGEST_NAME} characters.")
    text: str = strawberry.field(description="The CSV: its first line is name,email,phone; phone may be left out.")


@strawberry.input(one_of=True, description="Where the customers are.")
class ImportCustomersInput:
    csv: ImportText | None = strawberry.field(default=UNSET, description="In this text.")
    upload: strawberry.ID | None = strawberry.field(
        default=UNSET, description="In the file that a POST to /imports has kept under this id."
    )


@strawberry.input(description="Which import.")
class ImportInput:
    id: strawberry.ID = strawberry.field(description="Id of the import, as the API gave it.")


@strawberry.type(description="The import, or the errors for which nothing was done.")
class ImportPayload:
    import_: CustomerImport | None = strawberry.field(
        name="import",
        default=None,
        extensions=[Reads("imports:read")],
        description="The import as it is now. Needs imports:read.",
    )
    errors: list[UserError] = strawberry.field(default_factory=list, description="Empty where it was done.")


@strawberry.type
class ImportQuery:
    @strawberry.field(description="Imports of customers, the newest first. Needs imports:read.")
    def imports(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[CustomerImport]:
        require(info, "imports:read")
        return pages.root(ImportRow.objects.all(), ("-pk",), _asked(first, after, last, before))

    @strawberry.field(name="import", description="One import, or null if there is none of this id. Needs imports:read.")
    def import_(self, info: Info, id: Id) -> CustomerImport | None:
        require(info, "imports:read")
        found: Any = ImportRow.objects.filter(pk=number_of(id, "CustomerImport")).first()
        return found


@strawberry.type
class ImportMutation:
    @strawberry.mutation(
        description="Have the rows of a CSV file made into customers, by a job. Asks for imports:write."
    )
    def import_customers(self, info: Info, input: ImportCustomersInput) -> ImportPayload:
        require(info, "imports:write")
        by = name_of(info.context.request)

        def do() -> ImportRow:
            row = _kept(input.csv, by) if input.csv else _open(input.upload or "", "upload")
            return _begun(row, by)

        return _answer(do)

    @strawberry.mutation(description="Go on with an import whose run has failed. Asks for imports:write.")
    def resume_import(self, info: Info, input: ImportInput) -> ImportPayload:
        require(info, "imports:write")
        return _answer(lambda: _begun(_open(input.id, "id"), name_of(info.context.request)))

    @strawberry.mutation(description="Import no more rows; what was made stays. Asks for imports:write.")
    def cancel_import(self, info: Info, input: ImportInput) -> ImportPayload:
        require(info, "imports:write")

        def do() -> ImportRow:
            row = _open(input.id, "id")
            if not running.cancel(row.pk, now=timezone.now()):
                raise _over(row, "id")
            row.refresh_from_db()
            return row

        return _answer(do)


def _answer(do: Callable[[], ImportRow]) -> ImportPayload:
    """Give the payload of what *do* gives: all of it is written, or nothing."""
    try:
        with transaction.atomic():
            row: Any = do()
            return ImportPayload(import_=row)
    except Refused as refused:
        return ImportPayload(errors=user_errors(refused.problems))
    except CronsError as error:
        raise ClientError(UNAVAILABLE, f"The import cannot be begun: {error}") from error


def _kept(given: ImportText, by: str) -> ImportRow:
    problems = []
    if not given.name.strip() or len(given.name) > LONGEST_NAME or not is_text(given.name):
        problems.append(Problem(Code.INVALID, f"Expected 1 to {LONGEST_NAME} characters.", ("csv", "name")))
    try:
        if problems:
            raise Refused(problems)
        # Half a character becomes bytes that are no UTF-8, which is what the file is then refused for.
        return running.keep([given.text.encode("utf-8", "surrogatepass")], given.name, by=by, now=timezone.now())
    except NotCsv as error:
        raise Refused([Problem(Code.INVALID, str(error), ("csv", "text"))]) from error


def _open(given: str, *path: str) -> ImportRow:
    """Give the import of this id, locked: one that ends meanwhile is not begun again."""
    row = ImportRow.objects.select_for_update().filter(pk=number_of(strawberry.ID(given), "CustomerImport")).first()
    if row is None:
        raise Refused([Problem(Code.NOT_FOUND, "There is no import of this id.", path)])
    if row.state in (_STATE.DONE, _STATE.CANCELLED):
        raise _over(row, *path)
    return row


def _over(row: ImportRow, *path: str) -> Refused:
    return Refused([Problem(Code.NOT_ALLOWED, f"It is {row.state} already.", path)])


def _begun(row: ImportRow, by: str) -> ImportRow:
    running.request(row, by=by)
    return row


def _asked(*given: Any) -> Asked:
    return Asked(*(None if each is UNSET else each for each in given))
