"""A mutation that is sent twice under one key is carried out once: the second is told what the first was.

The row of the key, what the mutation writes and its answer commit together. Of two requests at once the second waits at
the unique key until the first has committed, and is then told its answer; had the first failed, it does the work.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, OperationalError, transaction
from django.http import HttpRequest
from django.utils import timezone
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from crm.graph.errors import ClientError, is_of_ours
from crm.graph.permissions import who
from crm.models import IdempotencyKey

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEPT = timedelta(hours=24)
_FORM = re.compile(r"[\x21-\x7e]{1,200}")
_SWEPT = 20  # rows that are over, at each new one: more than come, so their number does not grow


class Idempotency(SchemaExtension):
    """Carry out a mutation once for each Idempotency-Key of whoever asks; the answer is replayed for a day."""

    def on_execute(self) -> Iterator[None]:
        context = self.execution_context
        request: HttpRequest | None = getattr(context.context, "request", None)
        key = request.headers.get(HEADER) if request is not None else None
        owner = who(request)
        # Who is nobody may change nothing: the field says so.
        if key is None or not owner or context.operation_type is not OperationType.MUTATION:
            yield
            return
        if not _FORM.fullmatch(key):
            self._refuse("BAD_USER_INPUT", f"{HEADER} is none: expected 1 to 200 printable characters without spaces.")
            yield
            return
        with transaction.atomic():
            try:
                row, is_new = _claim(owner, key, _fingerprint(context))
            except OperationalError:
                transaction.set_rollback(True)
                self._refuse("IN_PROGRESS", f"The request with this {HEADER} is still worked on. Ask again in a while.")
                yield
                return
            if not is_new:
                self._replay(row, _fingerprint(context))
                yield
                return
            yield
            result = context.result
            errors = list(getattr(result, "errors", None) or ())
            if any(is_of_ours(error) for error in errors):
                # Nothing of it is kept: whoever asks again has it tried again.
                transaction.set_rollback(True)
                return
            answer = {"data": getattr(result, "data", None), "errors": [_kept(error) for error in errors]}
            row.answer = json.dumps(answer, separators=(",", ":"))
            row.save(update_fields=["answer"])

    def _replay(self, row: IdempotencyKey, fingerprint: str) -> None:
        if row.fingerprint != fingerprint:
            self._refuse("KEY_REUSED", f"This {HEADER} came with another request before. Give each request its own.")
            return
        answer: dict[str, Any] = json.loads(row.answer)
        errors = [
            GraphQLError(each["message"], path=each["path"], extensions=each["extensions"]) for each in answer["errors"]
        ]
        self.execution_context.result = ExecutionResult(data=answer["data"], errors=errors or None)
        self.execution_context.context.response[REPLAYED] = "true"

    def _refuse(self, code: str, message: str) -> None:
        self.execution_context.result = ExecutionResult(data=None, errors=[ClientError(code, message)])


def _claim(owner: str, key: str, fingerprint: str) -> tuple[IdempotencyKey, bool]:
    """Give the row of *key*, and whether it is new; it waits for another request that has just made it."""
    now = timezone.now()
    cut = now - KEPT
    IdempotencyKey.objects.filter(owner=owner, key=key, created_at__lte=cut).delete()
    values = {"owner": owner, "key": key, "fingerprint": fingerprint, "created_at": now}
    try:
        with transaction.atomic():
            row = IdempotencyKey.objects.create(**values)
    except IntegrityError:
        return IdempotencyKey.objects.get(owner=owner, key=key), False
    # Those that another request deletes at this moment are left to it.
    over = IdempotencyKey.objects.filter(created_at__lte=cut).order_by("created_at")
    swept = over.select_for_update(skip_locked=True).values_list("pk", flat=True)[:_SWEPT]
    IdempotencyKey.objects.filter(pk__in=list(swept)).delete()
    return row, True


def _fingerprint(context: Any) -> str:
    asked = [context.query, context.variables or {}, context.operation_name]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _kept(error: GraphQLError) -> dict[str, Any]:
    return {"message": error.message, "path": error.path, "extensions": dict(error.extensions or {})}
