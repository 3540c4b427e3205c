"""Verbs of endpoints: made, disabled, enabled; and deliveries that are sent again by hand."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from crm.problems import Code, Problem, Refused, of_fields
from crm.webhooks import addresses, signing
from crm.webhooks.events import TYPES
from crm.webhooks.models import WebhookDelivery, WebhookEndpoint

BY_HAND = "by hand"
_BATCH = 1_000
_FIELDS = ("customer", "url", "contact")


def create(values: Mapping[str, Any], *, now: datetime) -> tuple[WebhookEndpoint, str]:
    """Make an endpoint of *values* (customer, url, contact, events); give it and its secret.

    Raises: Refused.
    """
    endpoint = WebhookEndpoint(**{each: values.get(each) or "" for each in _FIELDS}, created_at=now)
    endpoint.events = list(values.get("events") or [])
    problems = of_fields(endpoint, _FIELDS)
    if not any(each.path == ("url",) for each in problems):
        problems += problems_of_url(endpoint.url)
    problems += problems_of_events(endpoint.events)
    if not problems and WebhookEndpoint.objects.filter(customer=endpoint.customer, url=endpoint.url).exists():
        problems = [Problem(Code.TAKEN, "This customer has an endpoint with this address.", ("url",))]
    if problems:
        raise Refused(problems)
    with transaction.atomic():
        endpoint.save(force_insert=True)
        return endpoint, signing.give_secret(endpoint, now=now)


def problems_of_url(url: str) -> list[Problem]:
    """List what keeps *url* from being an endpoint's address; what its host stands for is asked at each request."""
    try:
        target = addresses.parse(url)
        addresses.refuse_literal(target)
    except addresses.AddressRefused as error:
        return [Problem(Code.INVALID, str(error), ("url",))]
    return []


def problems_of_events(types: Iterable[str]) -> list[Problem]:
    """List what is wrong with a choice of events."""
    chosen = list(types)
    if not chosen:
        return [Problem(Code.REQUIRED, f"Choose at least one event: {', '.join(TYPES)}.", ("events",))]
    if unknown := [each for each in chosen if each not in TYPES]:
        text = f"There is no event {unknown[0]!r}; expected some of {', '.join(TYPES)}."
        return [Problem(Code.INVALID, text, ("events",))]
    return []


def disable(endpoint_id: int, reason: str, *, now: datetime, notice: str = "") -> bool:
    """Have nothing more sent to the endpoint; what waits stays; say whether it was enabled."""
    enabled = WebhookEndpoint.objects.filter(pk=endpoint_id, disabled_at=None)
    return bool(enabled.update(disabled_at=now, disabled_reason=reason[:200], notice=notice))


def enable(endpoint_id: int) -> bool:
    """Have what waits sent, and what happens from now on; say whether the endpoint was disabled or paused."""
    return bool(
        WebhookEndpoint.objects.filter(pk=endpoint_id)
        .exclude(disabled_at=None, paused_until=None)
        .update(disabled_at=None, disabled_reason="", failures=0, failing_since=None, paused_until=None, notice="")
    )


def state_of(endpoint: WebhookEndpoint, now: datetime) -> str:
    """Say how it stands with the endpoint, in a few words."""
    if endpoint.disabled_at:
        return f"disabled {timezone.localtime(endpoint.disabled_at):%Y-%m-%d %H:%M}: {endpoint.disabled_reason}"
    count = f"{endpoint.failures} failures in a row"
    if endpoint.paused_until and endpoint.paused_until > now:
        return f"paused until {timezone.localtime(endpoint.paused_until):%Y-%m-%d %H:%M}: {count}"
    if endpoint.failures:
        return f"failing: {count}"
    return "works" if endpoint.tried_at else "not tried yet"


def replay(deliveries: QuerySet[WebhookDelivery], *, now: datetime) -> int:
    """Send these deliveries again, as soon as the job comes by: with the ids that they had, and all their tries anew.

    What is on its way at the moment is left alone. Give their number.
    Cost: two statements for each thousand, each pair a transaction of its own.
    """
    count, after = 0, 0
    rows = deliveries.order_by("pk")
    while batch := list(rows.filter(pk__gt=after).values_list("pk", flat=True)[:_BATCH]):
        after = batch[-1]
        idle = WebhookDelivery.objects.filter(pk__in=batch).exclude(claimed_until__gt=now)
        count += idle.update(
            state=WebhookDelivery.State.WAITING, tries=0, next_try_at=now, ended_at=None, claim="", claimed_until=None,
            detail="to be sent again, asked for by hand",
        )  # fmt: skip
    return count
