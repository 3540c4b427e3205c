"""A budget over time: who asks has points for each minute, and what a document costs is taken from them.

One row for each who asks, with one number: when the budget would be whole again. One statement asks whether the cost
fits and takes it, so that two processes at once cannot take the same points. Points come back evenly.
"""

import logging
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest

from crm.graph.errors import ClientError
from crm.graph.permissions import may_introspect, who
from crm.models import CostBucket

RATE_LIMITED = "RATE_LIMITED"
# Attribute of a request: its cost was taken, and it is answered again because what it watches has changed.
PAID = "cost_is_paid"
# What is refused was read, parsed and measured.
REFUSED_COST = 50
_WINDOW = 60_000_000  # a minute in microseconds
_log = logging.getLogger(__name__)

# *base* is when the budget is whole again: now, if that is over. Further away than two windows it cannot be but by a
# clock that was put back: then it counts as whole, for nobody shall wait for the clock to come there again.
_BASE = """CASE WHEN {row} > %(now)s + 2 * %(window)s OR {row} < %(now)s THEN %(now)s ELSE {row} END"""
_TAKE = """
INSERT INTO crm_costbucket (owner, whole_at) VALUES (%(owner)s, %(now)s + %(taken)s)
ON CONFLICT (owner) DO UPDATE SET whole_at = {base} + %(taken)s
WHERE {base} + %(taken)s <= %(now)s + %(window)s
RETURNING whole_at
""".format(base=_BASE.format(row="crm_costbucket.whole_at"))


@dataclass(frozen=True)
class Balance:
    """What was asked for, of how many points a minute, and what is left; *wait_seconds* until that cost would fit."""

    requested: int
    per_minute: int
    remaining: int
    whole_at: float
    wait_seconds: int = 0

    def shown(self) -> dict[str, object]:
        """Give it as `extensions.cost` has it."""
        return {
            "requested": self.requested,
            "budget": self.per_minute,
            "remaining": self.remaining,
            "restoreRate": round(self.per_minute / 60, 2),
            "resetAt": datetime.fromtimestamp(math.ceil(self.whole_at), UTC).isoformat(),
        }


def charge(request: HttpRequest | None, cost: int) -> Balance | None:
    """Take *cost* from the budget of who sent *request*; None where there is no limit, no request, or it is PAID.

    A database that takes no writes limits nobody: that is logged, and what is asked is answered.
    """
    if request is None or getattr(request, PAID, False):
        return None
    owner = who(request)
    is_known = bool(owner) and may_introspect(request)
    per_minute = settings.CRM_COST_PER_MINUTE if is_known else settings.CRM_STRANGER_COST_PER_MINUTE
    if not per_minute:
        return None
    try:
        return take(owner or _address_of(request), cost, per_minute, now=time.time())
    except DatabaseError as error:
        _log.warning("The cost of a request could not be noted, so it was not limited: %s", error)
        return None


def take(owner: str, cost: int, per_minute: int, *, now: float) -> Balance:
    """Take *cost* from the *per_minute* points of *owner*, or nothing where it does not fit: then there is a wait.

    Cost: one statement; one more where it does not fit.
    """
    each = _WINDOW / per_minute
    at, taken = round(now * 1_000_000), math.ceil(cost * each)
    row = None
    if taken <= _WINDOW:
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, {"owner": owner, "now": at, "taken": taken, "window": _WINDOW})
            row = cursor.fetchone()
    if row is not None:
        return Balance(cost, per_minute, int((at + _WINDOW - row[0]) / each), row[0] / 1_000_000)
    found = CostBucket.objects.filter(owner=owner).values_list("whole_at", flat=True).first() or at
    base = at if found > at + 2 * _WINDOW else max(found, at)
    wait = math.ceil((base + min(taken, _WINDOW) - at - _WINDOW) / 1_000_000)
    left = max(0, int((at + _WINDOW - base) / each))
    return Balance(cost, per_minute, left, base / 1_000_000, max(1, wait))


def refusal(balance: Balance) -> ClientError:
    """Give the error for a cost that did not fit; whoever waits so long is answered."""
    error = ClientError(
        RATE_LIMITED,
        f"The request costs {balance.requested} points, and {balance.remaining} of {balance.per_minute} for each "
        f"minute are left. Ask again in {balance.wait_seconds} s.",
    )
    error.extensions = {**(error.extensions or {}), "retryAfter": balance.wait_seconds}
    return error


def _address_of(request: HttpRequest) -> str:
    """Give whose budget a stranger's is: an address, of the sixth version the network that one customer has."""
    given = str(request.META.get("REMOTE_ADDR", ""))
    try:
        address = ip_address(given)
    except ValueError:  # a unix socket has none
        return "address unknown"
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64)
    return f"address {address}"
