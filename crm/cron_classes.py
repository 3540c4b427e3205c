"""Jobs as classes, for django-cron's CRON_CLASSES: crons.compat.django_cron gives the name that this imports."""

from datetime import timedelta

from django.utils import timezone
from django_cron import CronJobBase, Schedule

from crm import expiry
from crons import current_context


class ExpireSessionsAndTokens(CronJobBase):
    """Delete the sessions and service tokens that have expired."""

    RUN_AT_TIMES = ["03:40"]

    code = "expire_sessions_and_tokens"
    schedule = Schedule(run_at_times=RUN_AT_TIMES)
    JOB_OPTIONS = {
        "idempotent": True,
        "timeout": timedelta(minutes=10),
        "owner": "operations",
        "tags": ["crm", "cleanup"],
    }

    def do(self):
        """Delete as of the slot; say how many went."""
        context = current_context()
        expired = expiry.delete_expired(now=context.until if context else timezone.now())
        rest = "" if expired.finished else "; the time for it is over, the rest goes at the next slot"
        return f"{expired.sessions} sessions and {expired.tokens} service tokens deleted{rest}"
