"""Making many rows at once: each item ends as a row or with the problems that kept it from becoming one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from django.db.models import ForeignObjectRel, Model, QuerySet, signals

from crm.problems import Code, Problem, Refused, too_many

MOST = 100

Row = TypeVar("Row")


@dataclass
class Result(Generic[Row]):
    """What became of one item: *row* is None where there are *problems*."""

    row: Row | None
    problems: list[Problem] = field(default_factory=list)

    def made(self) -> Row:
        """Give the row.

        Raises: Refused where there is none.
        """
        if self.row is None:
            raise Refused(self.problems)
        return self.row


def check_number(items: Sequence[Any]) -> None:
    """Refuse more than MOST items.

    Raises: Refused, with an empty path.
    """
    if len(items) > MOST:
        raise Refused([too_many(len(items), MOST)])


def write(results: Sequence[Result[Row]], insert: Callable[[list[Row]], object], *, all_or_nothing: bool) -> list[Row]:
    """Insert the rows without problems, or none of them where *all_or_nothing* and one has some; give those inserted.

    What was not inserted loses its row; what had no problem of its own gets NOT_DONE.
    """
    is_stopped = all_or_nothing and any(result.problems for result in results)
    good = [] if is_stopped else [result.row for result in results if not result.problems and result.row is not None]
    if good:
        insert(good)
    for result in results:
        if is_stopped and not result.problems:
            result.problems = [Problem(Code.NOT_DONE, "Not done, as others of the same request have problems.")]
        if result.problems:
            result.row = None
    return good


def delete(rows: QuerySet[Any], *, leaving: tuple[type[Model], ...] = ()) -> None:
    """Delete *rows* in one statement, without loading them; those of *leaving* that refer to them are gone already.

    Django's own delete() reads each row first, as there may be others that refer to it. Where a table is added that
    does, it is Django's that deletes.
    """
    relations = [
        each for each in rows.model._meta.get_fields(include_hidden=True) if isinstance(each, ForeignObjectRel)
    ]
    if any(each.related_model not in leaving for each in relations) or _is_listened_to(rows.model):
        rows.delete()
    else:
        rows._raw_delete(rows.db)  # what delete() calls where nothing refers to rows


def _is_listened_to(model: type[Model]) -> bool:
    return signals.pre_delete.has_listeners(model) or signals.post_delete.has_listeners(model)
