"""What is written of each try: its row in the log, what becomes of the delivery, and what that says of the endpoint."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef

from crm.webhooks import endpoints, retries
from crm.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from crm.webhooks.posting import Answer

_N = WebhookEndpoint.Notice
_S = WebhookDelivery.State
_MOST_PRUNED = 1_000


def record(delivery: WebhookDelivery, answer: Answer, *, at: datetime, now: datetime, run: int | None) -> bool:
    """Write what became of a try that began *at*; say whether the receiver has taken it.

    Where somebody else has claimed the delivery meanwhile, only the try is noted.
    """
    number = delivery.tries + 1
    with transaction.atomic():
        # First, as all do who write deliveries and their endpoint: so that no two wait for each other. Not its key:
        # whoever makes an order would have to wait.
        endpoint = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=delivery.endpoint_id)
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
    return answer.is_good


def prune(now: datetime) -> int:
    """Delete the oldest events that have ended CRM_WEBHOOK_KEEP_DAYS ago or earlier, with their log; give their number.

    One bounded batch: the job comes by each minute.
    """
    before = now - timedelta(days=settings.CRM_WEBHOOK_KEEP_DAYS)
    waiting = WebhookDelivery.objects.filter(event=OuterRef("pk"), state=_S.WAITING)
    fresh = WebhookDelivery.objects.filter(event=OuterRef("pk"), ended_at__gte=before)
    old = WebhookEvent.objects.filter(~Exists(waiting), ~Exists(fresh), created_at__lt=before)
    ids = list(old.order_by("created_at", "pk").values_list("pk", flat=True)[:_MOST_PRUNED])
    if ids:
        with transaction.atomic():
            WebhookAttempt.objects.filter(delivery__event__in=ids).delete()
            WebhookDelivery.objects.filter(event__in=ids).delete()
            WebhookEvent.objects.filter(pk__in=ids).delete()
    return len(ids)


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
    elif now - endpoint.failing_since >= retries.DISABLED_AFTER:
        days = retries.DISABLED_AFTER.days
        reason = f"It has failed for {days} days, {endpoint.failures} times in a row; the last time: {answer}."
        endpoints.disable(endpoint.pk, reason, now=now, notice=_N.DISABLED)


def _asked(answer: Answer, now: datetime) -> datetime | None:
    return retries.asked_to_wait_until(answer.retry_after, now) if answer.status in retries.SLOW_DOWN else None
