"""Jobs as classes, for django-cron's CRON_CLASSES: crons.contrib.django_cron gives the name that this imports."""

from datetime import timedelta

from django.utils import timezone
from django_cron import CronJobBase, Schedule

from crm import expiry, token_files, tokens
from crm.models import ServiceToken
from crons import current_context


class TokensEnd(Exception):
    """Service tokens in use end soon; nothing else is wrong. A job that fails is mailed to ADMINS."""


class ExpireSessionsAndTokens(CronJobBase):
    """Delete expired sessions and service tokens; fail while a token in use is about to end."""

    RUN_AT_TIMES = ["03:40"]

    code = "expire_sessions_and_tokens"
    schedule = Schedule(run_at_times=RUN_AT_TIMES)
    JOB_OPTIONS = {
        "idempotent": True,
        "timeout": timedelta(minutes=10),
        "owner": "operations",
        "tags": ["crm", "cleanup"],
    }

    def do(self) -> str:
        """Delete as of the slot; say how many went, and which tokens people must renew."""
        context = current_context()
        now = context.until if context else timezone.now()
        expired = expiry.delete_expired(now=now)
        rest = "" if expired.finished else "; the time for it is over, the rest goes at the next slot"
        imports = f", and {expired.imports} imports that ended long ago," if expired.imports else ""
        said = f"{expired.sessions} sessions and {expired.tokens} service tokens{imports} deleted{rest}"
        if rows := tokens.ending(now):
            raise TokensEnd(f"{said}. {' '.join(map(_renewal, rows))}")
        return said


def _renewal(row: ServiceToken) -> str:
    renewal = "jobs" if row.name == token_files.JOBS else f"rotate {row.prefix}"
    return (
        f"The service token {row} is in use and ends on {timezone.localtime(row.expires_at):%Y-%m-%d %H:%M %z}. "
        f"Renew it before, on each host that uses it: manage.py service_token {renewal}"
    )
