"""An import from its file to its end: kept with the file checked, done by batches, cancelled, gone on with."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice

from django.db import transaction

from crm import customers
from crm.imports import files
from crm.imports.files import NotCsv, Row
from crm.imports.models import CustomerImport, ImportPiece, ImportProblem
from crm.plain_text import one_line
from crm.problems import Code
from crons import api

JOB = "import_customers"
MOST_BYTES = 20_000_000
MOST_ROWS = 200_000
_BATCH = 100
_S = CustomerImport.State
_ENDED = (_S.DONE, _S.CANCELLED)
# A cell that a spreadsheet would run, whoever exports it later. A phone number begins with +.
_FORMULA = ("=", "+", "-", "@")
_TAKEN = "A customer, or an earlier row of this file, has this e-mail address."


def keep(pieces: Iterable[bytes], name: str, *, by: str, now: datetime) -> CustomerImport:
    """Keep the file, once its form is right from the first line to the last; *request* has it imported.

    Raises: NotCsv; nothing is kept then.
    Cost: memory for a piece and a row; one statement a piece.
    """
    with transaction.atomic():
        row = CustomerImport.objects.create(
            name=one_line(name)[:200], started_by=by[:150], size_bytes=0, rows_total=0, created_at=now
        )
        for piece in pieces:
            row.size_bytes += len(piece)
            if row.size_bytes > MOST_BYTES:
                raise NotCsv(f"The file has more than {MOST_BYTES:,} bytes. Import it in parts.")
            row.rows_total += 1
            ImportPiece.objects.create(of=row, number=row.rows_total, content=piece)
        row.rows_total = 0
        for _ in files.rows(_pieces_of(row.pk)):
            row.rows_total += 1
            if row.rows_total > MOST_ROWS:
                raise NotCsv(f"The file has more than {MOST_ROWS:,} rows. Import it in parts.")
        if not row.rows_total:
            raise NotCsv("The file has a first line and no rows.")
        row.save()
    return row


def request(row: CustomerImport, *, by: str) -> int:
    """Have the import begun, or gone on with where it stopped; give the run's number.

    Where it stands is part of the run's key: asked twice, it is one run. One that is over and got no further is tried
    once more.
    Raises: CronsError, with nothing written, where crons takes no runs at the moment.
    """
    key = f"{JOB}-{row.pk}-{row.rows_done}"
    with transaction.atomic():
        run = api.run_now(JOB, by=by, args={"import_id": row.pk}, key=key, reason=str(row))
        if run.verdict:
            run = api.retry(run.pk, by=by, reason=str(row))
    return run.pk


def cancel(import_id: int, *, now: datetime) -> bool:
    """Have no more rows imported, from the next batch on; those that are stay. Say whether it had not ended."""
    with transaction.atomic():
        open_ones = CustomerImport.objects.filter(pk=import_id).exclude(state__in=_ENDED)
        was_open = bool(open_ones.update(state=_S.CANCELLED, ended_at=now))
        if was_open:
            ImportPiece.objects.filter(of=import_id).delete()
    return was_open


def work(
    import_id: int, *, now: Callable[[], datetime], run: int | None, on_progress: Callable[[int, int | None], None]
) -> CustomerImport:
    """Import what is not imported yet, a batch a transaction with the note of how far it is; give what came of it.

    Killed at any statement and begun again it comes to the same end. Two at once take turns.
    Raises: CustomerImport.DoesNotExist, and NotCsv where the file that was kept is no longer whole.
    """
    rows = files.rows(_pieces_of(import_id))
    position = 0
    while True:
        with transaction.atomic():
            row = CustomerImport.objects.select_for_update().get(pk=import_id)
            if row.state in _ENDED:
                return row
            # Beyond what an earlier attempt, or another one at the same time, has done.
            batch = list(islice(rows, row.rows_done - position, row.rows_done - position + _BATCH))
            position = row.rows_done + len(batch)
            if not batch and position < row.rows_total:
                raise NotCsv(f"{row} has {row.rows_total} rows, but what is kept of it ends after {position}.")
            made = _import(row, batch)
            row.made += made
            row.refused += len(batch) - made
            row.rows_done, row.state, row.run = position, _S.RUNNING, run
            if position >= row.rows_total:
                row.state, row.ended_at = _S.DONE, now()
                row.pieces.all().delete()
            row.save()
        on_progress(row.rows_done, row.rows_total)


def _import(into: CustomerImport, batch: list[Row]) -> int:
    good = [row for row in batch if not row.problem and not _problem(row)]
    results = customers.create_many([row.values for row in good], now=into.created_at)
    wrong = [(row, row.problem or _problem(row)) for row in batch if row.problem or _problem(row)]
    for row, result in zip(good, results, strict=True):
        if result.problems:
            said = (_TAKEN if each.code == Code.TAKEN else each.message for each in result.problems)
            wrong.append((row, " ".join(said)))
    ImportProblem.objects.bulk_create(
        # As far as a database takes it: what is wrong with it may be just that.
        ImportProblem(of=into, row=row.number, given=one_line(" | ".join(row.cells))[:500], problem=text[:500])
        for row, text in wrong
    )
    return len(batch) - len(wrong)


def _problem(row: Row) -> str:
    """Say what is wrong with values that the CRM's rules let pass, but that nobody means in a file."""
    for column in ("name", "email"):
        if row.values[column].strip().startswith(_FORMULA):
            return f"The {column} begins with {row.values[column].strip()[0]!r}, as a formula does. Leave that out."
    if not row.values["email"].isascii():
        return "The e-mail address has letters that only look like those of another. Write its domain as xn--…"
    return ""


def _pieces_of(import_id: int) -> Iterator[bytes]:
    """Yield the file's pieces, one statement each: memory for one."""
    number = 1
    pieces = ImportPiece.objects.filter(of=import_id)
    while (content := pieces.filter(number=number).values_list("content", flat=True).first()) is not None:
        yield bytes(content)
        number += 1
