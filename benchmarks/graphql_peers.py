"""The page of graphql_page.py by other ways of doing GraphQL in Django, each in an environment of its own.

    python -m venv /tmp/peers/strawberry && /tmp/peers/strawberry/bin/pip install "Django>=6.0,<6.1" \\
        strawberry-graphql-django
    python -m venv /tmp/peers/graphene && /tmp/peers/graphene/bin/pip install "Django>=6.0,<6.1" \\
        graphene-django graphene-django-optimizer
    BENCH_PEERS=/tmp/peers python -m benchmarks graphql-peers

They cannot share one: graphene needs an older graphql-core than strawberry. All read the same tables of one SQLite
file. The peers have nothing around them, no middleware, token, limit or budget; ours is as it is deployed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from django.apps import AppConfig


class Peers(AppConfig):
    """Where the models belong: a relation to one of no application is not followed back."""

    name, label = "benchmarks", "peers"


PEERS = ("strawberry", "graphene")
TURNS, ROUNDS = 3, 15
_FIELDS = "edges { node { id name email orders(first: 5, %s) { edges { node { id status orderedAt total } } } } }"


def _configure() -> None:
    import django
    from django.conf import settings

    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["BENCH_SQLITE"]}},
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "benchmarks.graphql_peers.Peers",
            f"{sys.argv[1]}_django",
        ],
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        SECRET_KEY="benchmark",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()


def _models() -> tuple[Any, Any]:
    from django.db import models

    class Customer(models.Model):
        name = models.CharField(max_length=200)
        email = models.EmailField()

        class Meta:
            app_label, db_table, managed = "peers", "crm_customer", False

    class Order(models.Model):
        customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
        status = models.CharField(max_length=20)
        ordered_at = models.DateTimeField()
        total = models.DecimalField(max_digits=12, decimal_places=2)

        class Meta:
            app_label, db_table, managed = "peers", "crm_order", False
            ordering = ["-ordered_at", "-pk"]  # the page's own: graphene's connections have no order to ask for

    return Customer, Order


def _strawberry(customer: Any, order: Any) -> tuple[Any, str]:
    import strawberry
    import strawberry_django
    from strawberry import relay
    from strawberry.django.views import GraphQLView
    from strawberry_django.optimizer import DjangoOptimizerExtension
    from strawberry_django.relay import DjangoListConnection

    namespace = globals()

    @strawberry_django.order_type(order)
    class OrderOrder:
        ordered_at: strawberry.auto

    namespace["OrderOrder"] = OrderOrder

    @strawberry_django.type(order, ordering=OrderOrder)
    class OrderType(relay.Node):
        id: relay.NodeID[int]
        status: str
        ordered_at: strawberry.auto
        total: strawberry.auto

    namespace |= {"OrderType": OrderType, "DjangoListConnection": DjangoListConnection}

    @strawberry_django.type(customer)
    class CustomerType(relay.Node):
        id: relay.NodeID[int]
        name: str
        email: str
        orders: DjangoListConnection[OrderType] = strawberry_django.connection()

    namespace |= {"CustomerType": CustomerType, "strawberry": strawberry, "relay": relay}

    @strawberry.type
    class Query:
        customers: DjangoListConnection[CustomerType] = strawberry_django.connection()

    schema = strawberry.Schema(Query, extensions=[DjangoOptimizerExtension])
    fields = _FIELDS % "ordering: [{orderedAt: DESC}]"
    return GraphQLView.as_view(schema=schema), f"{{ customers(first: 50) {{ {fields} }} }}"


def _graphene(customer: Any, order: Any) -> tuple[Any, str]:
    import graphene
    import graphene_django_optimizer as optimizer
    from graphene_django import DjangoConnectionField, DjangoObjectType
    from graphene_django.views import GraphQLView

    class OrderType(DjangoObjectType):
        class Meta:
            model, fields, interfaces = order, ("id", "status", "ordered_at", "total"), (graphene.relay.Node,)

    class CustomerType(DjangoObjectType):
        class Meta:
            model, fields, interfaces = customer, ("id", "name", "email", "orders"), (graphene.relay.Node,)

    class Query(graphene.ObjectType):
        customers = DjangoConnectionField(CustomerType)

        def resolve_customers(root: Any, info: Any, **given: Any) -> Any:
            return optimizer.query(customer.objects.order_by("pk"), info)

    fields = (_FIELDS % "").replace("first: 5, ", "first: 5")
    return GraphQLView.as_view(schema=graphene.Schema(query=Query)), f"{{ customers(first: 50) {{ {fields} }} }}"


def _peer(name: str) -> dict[str, float]:
    _configure()
    from django.db import connection
    from django.test import RequestFactory

    view, query = {"strawberry": _strawberry, "graphene": _graphene}[name](*_models())
    body = json.dumps({"query": query})

    def ask() -> bytes:
        response: bytes = view(RequestFactory().post("/graphql", body, content_type="application/json")).content
        return response

    rows = [edge["node"] for edge in json.loads(ask())["data"]["customers"]["edges"]]
    assert len(rows) == 50, "another page than ours"
    connection.force_debug_cursor = True
    connection.queries_log.clear()
    ask()
    statements = len(connection.queries_log)
    connection.force_debug_cursor = False
    return {name: _median(ask), f"{name} statements": statements}


def _ours() -> dict[str, float]:
    import django

    from benchmarks import graphql_page

    django.setup()
    with graphql_page.prepared() as (graphql, by_hand):
        return {"ours": _median(graphql), "by hand": _median(by_hand)}


def _median(ask: Callable[[], object]) -> float:
    """Give the median processor time: on a machine that does other things too, it says more than a clock."""
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        ask()
        took.append(time.process_time() - began)
    return median(took)


def compare() -> None:
    """Print what one page costs, ours and the peers' in turns."""
    from benchmarks.__main__ import CRM
    from benchmarks.measure import ROOT, child, sqlite_url

    folder = os.environ.get("BENCH_PEERS")
    if not folder:
        sys.exit(f"BENCH_PEERS names no folder with the environments of the peers.\n{__doc__}")
    found: dict[str, list[float]] = {}
    with sqlite_url() as url:
        for _ in range(TURNS):
            turn = child("graphql_peers", "ours", DATABASE_URL=url, **CRM)
            for name in PEERS:
                command = [f"{folder}/{name}/bin/python", "-m", "benchmarks.graphql_peers", name]
                env = {"PYTHONPATH": str(ROOT), "BENCH_SQLITE": url.removeprefix("sqlite:///")}
                done = subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
                turn |= json.loads(done.stdout.splitlines()[-1])
            for name, value in turn.items():
                found.setdefault(name, []).append(value)
    by_hand = median(found["by hand"])
    for name in ("by hand", "ours", *PEERS):
        value = median(found[name])
        statements = f", {found[f'{name} statements'][0]:.0f} statements" if name in PEERS else ""
        print(f"{name:<12} {value * 1000:7.2f} ms   {value / by_hand:5.2f} × by hand{statements}")


if __name__ == "__main__":
    print(json.dumps(_ours() if sys.argv[1] == "ours" else _peer(sys.argv[1])))
