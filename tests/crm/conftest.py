"""What the CRM's tests share: a shop in which time stands still."""

from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from crons import Context

from . import graphql_server, webhook_receiver

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
CUT = datetime(2025, 11, 22, 2, 0, tzinfo=UTC)


@pytest.fixture
def log_dir(tmp_path, settings):
    """A log directory of the test's own."""
    settings.CRM_LOG_DIR = tmp_path / "log"
    return settings.CRM_LOG_DIR


@pytest.fixture
def make_customer(db):
    """Make a customer who signed up three years ago, with an order at each of the moments given."""
    from crm.models import Customer, Order

    made = []

    def make(*ordered_at, created_at=datetime(2023, 11, 1, tzinfo=UTC), status="completed", **values):
        number = len(made)
        values = {"name": f"Customer {number}", "email": f"customer{number}@example.com"} | values
        customer = Customer.objects.create(created_at=created_at, **values)
        Order.objects.bulk_create(Order(customer=customer, ordered_at=at, status=status) for at in ordered_at)
        made.append(customer)
        return customer

    return make


@pytest.fixture
def graphql():
    """A GraphQL server that says what the test puts into .answers."""
    with graphql_server.running() as server:
        yield server


@pytest.fixture
def api(graphql, settings, monkeypatch):
    """The same server, as the one that the jobs ask, with a token of theirs."""
    settings.CRM_GRAPHQL_URL = graphql.url
    monkeypatch.setenv("CRM_TOKEN", "crm_12345678_secret")
    return graphql


@pytest.fixture(scope="session")
def _receiver():
    with webhook_receiver.running() as receiver:
        yield receiver


@pytest.fixture
def receiver(_receiver, settings):
    """A receiver of webhooks that does what the path asks, in a network that is allowed."""
    settings.CRM_WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    for each in (_receiver.asked, _receiver.doing, _receiver.names):
        each.clear()
    return _receiver


def attempt(until: datetime = NOW, key: str = "k") -> Context:
    """What a job is given at the slot *until*; what it says of its work is kept in it."""
    return Context("entry", "job", key, 1, 1, "slot", "test", until, until, until)
