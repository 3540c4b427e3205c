"""What is written of each try: its row in the log, what becomes of the delivery, and what that says of the endpoint."""

import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from crm.webhooks import endpoints, retries
from crm.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from crm.webhooks.posting import Answer

_N = WebhookEndpoint.Notice
_S = WebhookDelivery.State
_BATCH = 1_000
PRUNE_SECONDS = 5.0


def record(
    delivery: WebhookDelivery, answer: Answer, *, at: datetime, now: datetime, run: int | None
) -> WebhookEndpoint | None:
    """Write what became of a try that began *at*; give the endpoint as it is now, None where that is gone.

    Where somebody else has claimed the delivery meanwhile, only the try is noted.
    """
    number = delivery.tries + 1
    with transaction.atomic():
        # First, as all do who write deliveries and their endpoint: so that no two wait for each other. Not its key:
        # whoever makes an order would have to wait.
        endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).filter(pk=delivery.endpoint_id).first()
        if endpoint is None:  # deleted meanwhile, and its deliveries with it
            return None
        WebhookAttempt.objects.create(
            delivery=delivery, number=number, at=at, milliseconds=answer.milliseconds, status=answer.status,
            error=answer.error, answer=answer.text, run=run,
        )  # fmt: skip
        mine = WebhookDelivery.objects.filter(pk=delivery.pk, claim=delivery.claim, state=_S.WAITING)
        changes = _of_delivery(delivery, endpoint, answer, number, now)
        mine.update(tries=number, claim="", claimed_until=None, detail=str(answer)[:200], **changes)
        if answer.is_good:
            _note_success(endpoint)
        else:
            _note_failure(endpoint, answer, now)
    return endpoint


def prune(now: datetime, *, for_seconds: float = PRUNE_SECONDS) -> int:
    """Delete the oldest events that have ended CRM_WEBHOOK_KEEP_DAYS ago or earlier, with their log; give their number.

    What waits for an endpoint that has been disabled for as long has ended too. At most a thousand deliveries a
    transaction, for some seconds: the job comes by each minute.
    """
    before = now - timedelta(days=settings.CRM_WEBHOOK_KEEP_DAYS)
    goes_on = Q(endpoint__disabled_at=None) | Q(endpoint__disabled_at__gte=before)
    waiting = WebhookDelivery.objects.filter(goes_on, event=OuterRef("pk"), state=_S.WAITING)
    fresh = WebhookDelivery.objects.filter(event=OuterRef("pk"), ended_at__gte=before)
    old = WebhookEvent.objects.filter(~Exists(waiting), ~Exists(fresh), created_at__lt=before)
    oldest = old.order_by("created_at", "pk").values_list("pk", flat=True)
    ends, count = time.monotonic() + for_seconds, 0
    while ids := list(oldest[:_BATCH]):
        count += _delete(ids)
        if time.monotonic() >= ends:
            break
    return count


def _delete(events: list[int]) -> int:
    """Delete deliveries of *events*, a batch, and with the last of them the events; give the number of these."""
    with transaction.atomic():
        deliveries = WebhookDelivery.objects.filter(event__in=events).order_by("pk")
        some = list(deliveries.values_list("pk", flat=True)[:_BATCH])
        WebhookAttempt.objects.filter(delivery__in=some).delete()
        WebhookDelivery.objects.filter(pk__in=some).delete()
        if len(some) == _BATCH:
            return 0
        WebhookEvent.objects.filter(pk__in=events).delete()
    return len(events)


def _of_delivery(
    delivery: WebhookDelivery, endpoint: WebhookEndpoint, answer: Answer, number: int, now: datetime
) -> dict[str, object]:
    if answer.is_good:
        return {"state": _S.DELIVERED, "next_try_at": None, "ended_at": now}
    again = retries.next_try_at(f"{delivery.event.uid}:{endpoint.pk}", number, now)
    if again is None:
        return {"state": _S.GIVEN_UP, "next_try_at": None, "ended_at": now}
    asked = _asked(answer, now)
    return {"next_try_at": max(again, asked) if asked else again}


def _note_success(endpoint: WebhookEndpoint) -> None:
    if not endpoint.failures and not endpoint.paused_until:
        return
    endpoint.notice = _notice_of_success(endpoint)
    endpoint.failures, endpoint.failing_since, endpoint.paused_until = 0, None, None
    endpoint.save(update_fields=["failures", "failing_since", "paused_until", "notice"])


def _notice_of_success(endpoint: WebhookEndpoint) -> str:
    if endpoint.notice == _N.PAUSED:  # nobody has been told yet that it failed
        return _N.NONE
    return _N.WORKS if endpoint.failures >= retries.PAUSED_FROM else endpoint.notice


def _note_failure(endpoint: WebhookEndpoint, answer: Answer, now: datetime) -> None:
    if endpoint.disabled_at:  # meanwhile: by hand, or by another's answer
        return
    endpoint.failures += 1
    endpoint.failing_since = endpoint.failing_since or now
    paused = [each for each in (retries.paused_until(endpoint.failures, now), _asked(answer, now)) if each]
    endpoint.paused_until = max(paused, default=None)
    if endpoint.failures == retries.PAUSED_FROM:
        endpoint.notice = _N.PAUSED
    endpoint.save(update_fields=["failures", "failing_since", "paused_until", "notice"])
    if answer.status == retries.GONE:
        endpoints.disable(endpoint.pk, "It answered 410 Gone.", now=now, notice=_N.DISABLED)
    elif endpoint.failures >= retries.MOST_TRIES and now - endpoint.failing_since >= retries.DISABLED_AFTER:
        # Not by the time alone: a clock that jumped, or a job that was paused, is no fault of the receiver's.
        days = retries.DISABLED_AFTER.days
        reason = f"It has failed for {days} days, {endpoint.failures} times in a row; the last time: {answer}."
        endpoints.disable(endpoint.pk, reason, now=now, notice=_N.DISABLED)


def _asked(answer: Answer, now: datetime) -> datetime | None:
    return retries.asked_to_wait_until(answer.retry_after, now) if answer.status in retries.SLOW_DOWN else None
