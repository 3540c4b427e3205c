"""What has expired goes: sessions at once, tokens after a while in which their users read why, imports later."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.sessions.models import Session
from django.db.models import Model, Q, QuerySet

from crm.models import CostBucket, CustomerImport, ImportProblem, ServiceToken

# For so long the answer to a token says that it has expired or was revoked; after that, that it is unknown.
TOKENS_KEPT = timedelta(days=30)
# A budget is whole again after a minute; strangers, by whose addresses it is kept, come and go.
BUCKETS_KEPT = timedelta(days=1)
# Rows that an import refused have names and addresses: as long as somebody may still mend them.
IMPORTS_KEPT = timedelta(days=90)


@dataclass(frozen=True)
class Expired:
    """How many rows went; *finished* unless the time for it was over before."""

    sessions: int
    tokens: int
    finished: bool = True
    imports: int = 0


def delete_expired(
    *,
    now: datetime,
    budget: timedelta = timedelta(minutes=5),
    batch_size: int = 500,
    clock: Callable[[], float] = time.monotonic,
) -> Expired:
    """Delete sessions expired at *now*, and tokens that ended TOKENS_KEPT ago, for at most about *budget*.

    Imports that ended IMPORTS_KEPT ago go with the rows that they refused, which are not counted.
    Budgets of who did not ask GraphQL since BUCKETS_KEPT go too; nobody misses them, so they are not counted.

    Cost: two statements per batch, each batch in a transaction of its own.
    """
    until = clock() + budget.total_seconds()
    cut = now - TOKENS_KEPT

    def is_time_left() -> bool:
        return clock() < until

    sessions, sessions_done = _delete(Session.objects.filter(expire_date__lt=now), batch_size, is_time_left)
    ended = ServiceToken.objects.filter(Q(expires_at__lt=cut) | Q(revoked_at__lt=cut))
    tokens, tokens_done = _delete(ended, batch_size, is_time_left)
    idle = CostBucket.objects.filter(whole_at__lt=int((now - BUCKETS_KEPT).timestamp() * 1_000_000))
    _, idle_done = _delete(idle, batch_size, is_time_left)
    old = CustomerImport.objects.filter(ended_at__lt=now - IMPORTS_KEPT)
    _, problems_done = _delete(ImportProblem.objects.filter(of__in=old.order_by()), batch_size, is_time_left)
    # Only now: with its rows an import may be too much for one transaction.
    imports, imports_done = _delete(old, batch_size, is_time_left) if problems_done else (0, False)
    finished = sessions_done and tokens_done and idle_done and imports_done
    return Expired(sessions, tokens, finished, imports)


def _delete(expired: QuerySet[Model], batch_size: int, is_time_left: Callable[[], bool]) -> tuple[int, bool]:
    """Delete rows batch by batch while *is_time_left*; say how many went, and whether all did."""
    count = 0
    rest = expired.order_by("pk").values_list("pk", flat=True)
    keys = list(rest[:batch_size])
    while keys:
        if not is_time_left():
            return count, False
        # The condition again: a session that was used meanwhile has another end now.
        count += expired.filter(pk__in=keys).delete()[0]
        # From there on: those before it are in force, and would be looked at again for each batch.
        keys = list(rest.filter(pk__gt=keys[-1])[:batch_size])
    return count, True
