"""What there is for django-cron: its setting is read whether or not the app here is installed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from crons.extensions import Extension

if TYPE_CHECKING:
    from crons.sources.base import Source


class DjangoCronExtension(Extension):
    """Its classes are jobs, and its command goes through the ledger."""

    settings = {"CRON_CLASSES": "its classes are never run"}
    commands = {"runcrons": "crons.contrib.django_cron"}

    def load_checks(self) -> None:
        """Register what is checked of projects that come from it."""
        import crons.contrib.django_cron.checks  # noqa: F401

    def sources(self) -> Iterable[Source]:
        """Return the setting CRON_CLASSES."""
        from crons.contrib.django_cron.source import CronClassesSource

        return (CronClassesSource(),)


EXTENSION = DjangoCronExtension()
