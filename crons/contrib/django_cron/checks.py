"""Checks of a project that has django-cron."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.core.checks import CheckMessage, Tags, Warning, register

from crons.checks.base import TAG, known_good

DJANGO_CRON, CLASSES_COMPAT = "django_cron", "crons.contrib.django_cron"


@register(TAG, Tags.compatibility)
@known_good
def check_django_cron() -> Iterator[CheckMessage]:
    """Check that django-cron's app is not installed: its classes need none, and its command runs past the ledger."""
    installed = [config.name for config in apps.get_app_configs()]
    if DJANGO_CRON in installed:
        has = "stands in for it" if CLASSES_COMPAT in installed else "runs its classes through the ledger"
        yield Warning(
            f"django_cron is in INSTALLED_APPS, and {CLASSES_COMPAT} {has}.",
            hint=f"Put {CLASSES_COMPAT!r} first in INSTALLED_APPS, and take {DJANGO_CRON!r} away.",
            id="crons.W038",
        )
