"""The scheduled jobs, declared: when, under which policies, and which domain verb. No rule lives here."""

import json
import os
from datetime import timedelta
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from django.conf import settings
from django.utils import timezone

from crm import customers, logs
from crm.schema import schema
from crons import GiveUp, Retry, cron, job

CLEANUP_LOG = "customer_cleanup_log.txt"
FORCE = "CRM_CLEANUP_FORCE"
HEARTBEAT_LOG = "crm_heartbeat_log.txt"
_ANSWER_BYTES = 10_000


class HeartbeatFailed(Exception):
    """GraphQL did not answer `hello`."""


@job(
    cron("0 2 * * SUN"),
    timeout=timedelta(minutes=10),
    idempotent=True,
    retry=Retry(times=3, wait=timedelta(minutes=5)),
    description="Delete the customers without an order in the last year.",
    owner="customer-care",
    tags=("crm", "cleanup"),
)
def clean_inactive_customers(context=None, *, force=False, on_progress=None):
    """Delete inactive customers as of the slot, however late it runs, and log their number."""
    now, key = (context.until, context.key) if context else (timezone.now(), os.getenv("CRONS_ATTEMPT", ""))
    force = force or FORCE in os.environ
    try:
        cleanup = customers.delete_inactive(now=now, force=force, key=key, on_progress=on_progress)
    except customers.CleanupRefused as error:
        if context is None:
            raise
        raise GiveUp(str(error)) from error  # a person has to look: the next tries would refuse as well
    logs.append_line(
        CLEANUP_LOG, f"{timezone.localtime():%Y-%m-%d %H:%M:%S} Deleted {cleanup.deleted} inactive customers"
    )
    return cleanup


@job(
    cron("*/5 * * * *"),
    timeout=timedelta(minutes=1),
    description="Note that the CRM is alive, after GraphQL said hello.",
    owner="operations",
    tags=("crm", "heartbeat"),
)
def log_crm_heartbeat():
    """Log a line when GraphQL answers; a line is a proof of life, so without an answer there is none."""
    _ask_hello()
    logs.append_line(HEARTBEAT_LOG, f"{timezone.localtime():%d/%m/%Y-%H:%M:%S} CRM is alive")


def _ask_hello() -> None:
    answer = _hello_over_http(settings.CRM_GRAPHQL_URL) if settings.CRM_GRAPHQL_URL else _hello_in_process()
    if answer.get("errors") or not (answer.get("data") or {}).get("hello"):
        raise HeartbeatFailed(f"GraphQL did not say hello but: {json.dumps(answer, default=str)[:500]}")


def _hello_in_process() -> dict[str, Any]:
    result = schema.execute_sync("{ hello }")
    return {"data": result.data, "errors": result.errors}


def _hello_over_http(url: str) -> dict[str, Any]:
    request = Request(url, json.dumps({"query": "{ hello }"}).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=5) as response:
            answer = json.loads(response.read(_ANSWER_BYTES))
    except (OSError, HTTPException, ValueError) as error:
        raise HeartbeatFailed(
            f"{url} did not answer hello: {error}. Is the site up, and does CRM_GRAPHQL_URL point at it?"
        ) from error
    return answer if isinstance(answer, dict) else {"errors": [answer]}
