"""One page of GraphQL, 50 customers with five orders each, against a view that writes the same JSON by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from statistics import median
from typing import Any

QUERY = """{ customers(first: 50) { edges { node { id name email
  orders(first: 5, ordering: [{orderedAt: DESC}]) { edges { node { id status orderedAt total } } } } } } }"""


def measure(rounds: int = 40) -> dict[str, Any]:
    """Give the median seconds of the API and of the view, with the statements of both, in the database at hand."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from benchmarks.measure import seconds

    found: dict[str, Any] = {}
    with prepared() as (graphql, by_hand):
        for name, ask in (("graphql", graphql), ("by hand", by_hand)):
            ask()
            with CaptureQueriesContext(connection) as captured:
                ask()
            found[f"{name} statements"] = len(captured)
        # In turns, so that what else the machine does meets both. From other depths of the stack, too: CPython keeps
        # frames in chunks, and a call that crosses the border of one asks the kernel for memory each time. Where the
        # border lies is luck; one frame more made the same page take half as long again.
        pairs = [
            (seconds(partial(_deeper, number % 8, graphql)), seconds(partial(_deeper, number % 8, by_hand)))
            for number in range(rounds)
        ]
    found["graphql"], found["by hand"] = (median(each) for each in zip(*pairs, strict=True))
    return found


@contextmanager
def prepared() -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Fill the database at hand, unless it is; give what asks the API, and what asks the view."""
    from django.core.management import call_command
    from django.test import Client
    from django.test.utils import override_settings
    from django.urls import path
    from django.utils import timezone

    from crm import demo, tokens, urls
    from crm.models import Customer

    call_command("migrate", verbosity=0)
    now = timezone.now()
    if not Customer.objects.exists():
        demo.create(customers=5_000, now=now, seed=1)
    _, text = tokens.issue("bench", ["customers:read", "orders:read"], now + timedelta(days=1), now=now)
    urls.urlpatterns.append(path("by-hand", _by_hand))
    client = Client(headers={"Authorization": f"Bearer {text}"})

    def graphql() -> None:
        answer = client.post("/graphql", {"query": QUERY}, content_type="application/json").json()
        assert len(answer["data"]["customers"]["edges"]) == 50

    def by_hand() -> None:
        assert len(client.get("/by-hand").json()["customers"]) == 50

    with override_settings(ALLOWED_HOSTS=["*"], SECURE_SSL_REDIRECT=False):
        yield graphql, by_hand


def _deeper(frames: int, call: Callable[[], None]) -> None:
    if frames:
        _deeper(frames - 1, call)
    else:
        call()


def _by_hand(request: Any) -> Any:
    from django.db.models import Prefetch
    from django.http import JsonResponse

    from crm.models import Customer, Order

    newest = Prefetch("orders", Order.objects.order_by("-ordered_at", "-pk")[:5], to_attr="newest")
    customers = [
        {
            "id": customer.pk,
            "name": customer.name,
            "email": customer.email,
            "orders": [
                {"id": o.pk, "status": o.status, "orderedAt": o.ordered_at.isoformat(), "total": str(o.total)}
                for o in customer.newest
            ],
        }
        for customer in Customer.objects.order_by("pk").prefetch_related(newest)[:50]
    ]
    return JsonResponse({"customers": customers})


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(measure()))
