"""Webhooks in the admin: a secret is shown to who asks for it and may, and nowhere else."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from crm.models import Order, Product
from crm.webhooks import endpoints, events, signing
from crm.webhooks.events import Happening
from crm.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent

from .conftest import NOW

ENDPOINTS = "admin:crm_webhookendpoint_changelist"
DELIVERIES = "admin:crm_webhookdelivery_changelist"
VALUES = {"customer": "shop", "url": "https://hooks.example.com/in?key=hush", "contact": "ops@example.com"}


@pytest.fixture
def superuser(client, db):
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def endpoint(db):
    return endpoints.create(VALUES | {"events": list(events.TYPES)}, now=NOW)[0]


def act(client, action, *rows, url=ENDPOINTS):
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(reverse(url), data, follow=True)


def said(response):
    return [str(each) for each in response.context["messages"]]


def test_endpoint_is_made_with_a_secret_that_is_shown_on_one_page(superuser):
    made = superuser.post(
        reverse("admin:crm_webhookendpoint_add"), VALUES | {"events": ["order.created", "stock.low"]}, follow=True
    )
    endpoint = WebhookEndpoint.objects.get()
    secret = signing.secret_of(endpoint)

    shown = act(superuser, "show_secret", endpoint)

    assert secret in shown.text
    assert "no-store" in shown.headers["Cache-Control"]
    assert (endpoint.events, endpoint.disabled_at) == (["order.created", "stock.low"], None)
    pages = [made, superuser.get(reverse(ENDPOINTS)), superuser.get(reverse(ENDPOINTS), {"q": "shop"})]
    pages.append(superuser.get(reverse("admin:crm_webhookendpoint_change", args=[endpoint.pk])))
    pages.append(superuser.get(reverse("admin:crm_webhookendpoint_history", args=[endpoint.pk])))
    assert not [page for page in pages if secret.removeprefix("whsec_") in page.text]
    assert "hush" not in pages[1].text
    assert "Looked at its secret." in pages[-1].text


def test_secret_is_rotated_with_a_day_for_both(superuser, endpoint):
    old = signing.secret_of(endpoint)

    shown = act(superuser, "rotate_secret", endpoint)

    new = signing.secret_of(endpoint)
    assert new in shown.text
    assert "The one before it signs as well until " in shown.text
    assert signing.secrets_of(endpoint, now=timezone.now()) == [new, old]
    assert LogEntry.objects.get().get_change_message() == "Rotated its secret."


def test_who_may_only_look_is_shown_no_secret_and_sends_nothing_again(client, endpoint):
    user = User.objects.create_user("viewer", is_staff=True)
    views = Permission.objects.filter(codename__in=["view_webhookendpoint", "view_webhookdelivery"])
    user.user_permissions.set(views)
    client.force_login(user)
    events.emit_test(endpoint, now=NOW)
    delivery = WebhookDelivery.objects.get()
    endpoints.replay(WebhookDelivery.objects.all(), now=NOW)

    shown = act(client, "show_secret", endpoint)
    replayed = act(client, "replay", delivery, url=DELIVERIES)

    assert (shown.status_code, replayed.status_code) == (200, 200)
    assert signing.secret_of(endpoint) not in shown.text
    delivery.refresh_from_db()
    assert delivery.next_try_at == NOW


def test_two_secrets_are_not_shown_at_once(superuser, endpoint):
    other = endpoints.create(VALUES | {"customer": "b", "events": ["stock.low"]}, now=NOW)[0]

    shown = act(superuser, "show_secret", endpoint, other)

    assert said(shown) == ["Choose one endpoint: a secret is for one customer's eyes."]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"url": "https://169.254.169.254/latest"}, "169.254.169.254 stands for 169.254.169.254, which is not public."),
        ({"url": "http://a.test/"}, "Port 80 is not allowed; CRM_WEBHOOK_PORTS has 443."),
        ({"events": []}, "This field is required."),
        ({"events": ["order.made"]}, "Select a valid choice."),
    ],
)
def test_endpoint_that_cannot_be_is_not_made(superuser, changes, error):
    page = superuser.post(reverse("admin:crm_webhookendpoint_add"), VALUES | {"events": ["stock.low"]} | changes)

    assert error in page.text
    assert not WebhookEndpoint.objects.exists()


def test_endpoint_is_disabled_and_enabled_and_deleted_only_when_it_is_idle(superuser, endpoint):
    """Who makes an order may be writing a delivery for it."""
    url = reverse("admin:crm_webhookendpoint_delete", args=[endpoint.pk])

    assert superuser.post(url, {"post": "yes"}).status_code == 403
    act(superuser, "disable", endpoint)
    assert superuser.post(url, {"post": "yes"}).status_code == 403
    act(superuser, "enable", endpoint)
    endpoint.refresh_from_db()
    assert endpoint.disabled_at is None
    endpoints.disable(endpoint.pk, "by hand", now=timezone.now() - timedelta(minutes=61))
    assert act(superuser, "delete_selected", endpoint).status_code == 200
    assert WebhookEndpoint.objects.exists()
    assert superuser.post(url, {"post": "yes"}).status_code == 302
    assert not WebhookEndpoint.objects.exists()


def test_change_by_hand_keeps_what_the_job_wrote_meanwhile(superuser, endpoint, monkeypatch):
    """The form was read before."""
    save = WebhookEndpoint.save

    def save_after_the_job(self, **given):
        WebhookEndpoint.objects.update(failures=7)
        save(self, **given)

    monkeypatch.setattr(WebhookEndpoint, "save", save_after_the_job)
    url = reverse("admin:crm_webhookendpoint_change", args=[endpoint.pk])
    superuser.post(url, VALUES | {"contact": "new@example.com", "events": ["stock.low"]})

    endpoint.refresh_from_db()
    assert (endpoint.contact, endpoint.events, endpoint.failures) == ("new@example.com", ["stock.low"], 7)


def test_test_event_goes_to_that_endpoint_alone(superuser, endpoint):
    endpoints.create(VALUES | {"customer": "b", "events": ["stock.low"]}, now=NOW)

    act(superuser, "send_test", endpoint)

    delivery = WebhookDelivery.objects.get()
    assert (delivery.endpoint, delivery.event.type) == (endpoint, "webhook.test")


def test_delivery_shows_its_tries_with_their_runs_and_is_sent_again(superuser, endpoint):
    events.emit([Happening("order.created", "order-17", {"pk": 17})], now=NOW)
    delivery = WebhookDelivery.objects.get()
    WebhookDelivery.objects.update(state="given_up", tries=10, next_try_at=None)
    WebhookAttempt.objects.create(delivery=delivery, number=1, at=NOW, milliseconds=3, status=500, run=4711)

    page = superuser.get(reverse("admin:crm_webhookdelivery_change", args=[delivery.pk]))
    listed = superuser.get(reverse(ENDPOINTS))
    search = {"q": "order-17", "state__exact": "given_up", "type": "order.created"}
    found = superuser.get(reverse(DELIVERIES), search)
    other = superuser.get(reverse(DELIVERIES), search | {"type": "stock.low"})
    endpoints.disable(endpoint.pk, "by hand", now=NOW)
    replayed = act(superuser, "replay", delivery, url=DELIVERIES)

    assert reverse("crons:run", args=[4711]) in page.text
    assert delivery.event.uid in page.text
    assert "some given up" in listed.text
    assert (found.context["cl"].result_count, other.context["cl"].result_count) == (1, 0)
    assert said(replayed)[1] == f"{endpoint} is disabled: what is for it waits until it is enabled."
    history = superuser.get(reverse("admin:crm_webhookendpoint_history", args=[endpoint.pk]))
    assert "Had deliveries sent again." in history.text
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("waiting", 0)
    assert superuser.get(reverse("admin:crm_webhookdelivery_add")).status_code == 403


@pytest.mark.parametrize("url", [ENDPOINTS, DELIVERIES])
def test_lists_need_the_same_statements_for_any_number_of_rows(superuser, url):
    for number in range(20):
        endpoints.create(VALUES | {"customer": f"shop {number}", "events": ["order.created"]}, now=NOW)
    events.emit([Happening("order.created", f"order-{each}", {}) for each in range(5)], now=NOW)

    with CaptureQueriesContext(connection) as captured:
        assert superuser.get(reverse(url)).status_code == 200

    assert len(captured) <= 11


def test_orders_and_stock_changed_by_hand_are_told_too(superuser, endpoint, make_customer):
    lamp = Product.objects.create(name="Lamp", price=1, stock=3)
    items = {"items-TOTAL_FORMS": 1, "items-INITIAL_FORMS": 0, "items-0-product": lamp.pk}
    items |= {"items-0-quantity": 2, "items-0-unit_price": 1}
    data = {"customer": make_customer().pk, "status": "pending", "ordered_at_0": "2026-11-01", "ordered_at_1": "10:00"}

    made = superuser.post(reverse("admin:crm_order_add"), data | items)
    order = Order.objects.get()
    url = reverse("admin:crm_order_change", args=[order.pk])
    none = {"items-TOTAL_FORMS": 0, "items-INITIAL_FORMS": 0}
    superuser.post(url, data | none | {"status": "paid"})
    superuser.post(url, data | none | {"status": "paid"})

    assert made.status_code == 302
    rows = WebhookEvent.objects.order_by("pk").values_list("type", "data__itemCount", "data__previousStatus")
    assert list(rows) == [("order.created", 1, None), ("order.status_changed", None, "PENDING")]
