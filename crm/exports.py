"""Rows as CSV for people's spreadsheets: as RFC 4180 has it, a page of rows at a time, and no cell is a formula."""

import codecs
import csv
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone

PAGE = 1_000
log = logging.getLogger(__name__)
# A cell that begins so is a formula to a spreadsheet, or may become one; the last four are for East Asian ones.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Sheet:
    """What of a table is exported: pairs of a column's title and the lookup that gives it; the first is the id."""

    name: str
    columns: Sequence[tuple[str, str]]


CUSTOMERS = Sheet(
    "customers",
    (("id", "pk"), ("name", "name"), ("email", "email"), ("phone", "phone"), ("signed up", "created_at")),
)
ORDERS = Sheet(
    "orders",
    (
        ("id", "pk"), ("customer id", "customer_id"), ("customer", "customer__name"), ("email", "customer__email"),
        ("status", "status"), ("ordered", "ordered_at"), ("total", "total"),
    ),
)  # fmt: skip


def response(sheet: Sheet, rows: QuerySet[Any], request: HttpRequest) -> StreamingHttpResponse:
    """Answer with *rows* as a file to download; it is read from the database while it is sent."""
    log.info("%s exports %s", getattr(request, "user", "somebody"), sheet.name)
    lines: Any = _aside(lines_of(sheet, rows)) if isinstance(request, ASGIRequest) else lines_of(sheet, rows)
    sent = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8; header=present")
    sent["Content-Disposition"] = f'attachment; filename="{sheet.name}-{timezone.localdate():%Y-%m-%d}.csv"'
    sent["Cache-Control"] = "no-store"
    return sent


def lines_of(sheet: Sheet, rows: QuerySet[Any]) -> Iterator[bytes]:
    """Give the file in pieces: its header, then a page of rows at a time, in order of their ids.

    A row that is added or changed meanwhile may be in it or not; none is in it twice.

    Cost: one statement a page, by key; memory for one page.
    """
    # Without the mark Excel takes UTF-8 for the code page of its machine.
    yield codecs.BOM_UTF8 + _csv([[title for title, _ in sheet.columns]])
    ordered = rows.order_by("pk").values_list(*(lookup for _, lookup in sheet.columns))
    last = 0
    while page := list(ordered.filter(pk__gt=last)[:PAGE]):
        yield _csv([_cell(value) for value in row] for row in page)
        last = page[-1][0]


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(sep=" ", timespec="seconds")
    # Numbers are numbers, also those below zero. A spreadsheet shows a text after ' as it stands.
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _csv(rows: Any) -> bytes:
    written: list[str] = []
    # Every text is quoted: where a spreadsheet parts cells at ; a text such as "a;=1+1" would become two.
    writer = csv.writer(_Lines(written), quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerows(rows)
    return "".join(written).encode()


class _Lines:
    def __init__(self, written: list[str]) -> None:
        self.write = written.append


async def _aside(lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Give *lines* to a server that waits for many at once: else Django would collect the whole file first."""
    following = sync_to_async(lambda: next(lines, None))
    while (piece := await following()) is not None:
        yield piece
