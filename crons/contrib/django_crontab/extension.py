"""What there is for django-crontab: its settings are read whether or not the app here is installed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from crons.extensions import Extension

if TYPE_CHECKING:
    from crons.doctor.findings import Finding
    from crons.sources.base import Source


class DjangoCrontabExtension(Extension):
    """Its lines are jobs, and its command goes through the ledger."""

    settings = {"CRONJOBS": "its lines are installed nowhere"}
    commands = {"crontab": "crons.contrib.django_crontab"}

    def load_checks(self) -> None:
        """Register what is checked of projects that come from it."""
        import crons.contrib.django_crontab.checks  # noqa: F401

    def sources(self) -> Iterable[Source]:
        """Return the setting CRONJOBS."""
        from crons.contrib.django_crontab.source import CronjobsSource

        return (CronjobsSource(),)

    def examine(self) -> tuple[Iterable[Finding], bool]:
        """Say which jobs its own lines run past the ledger."""
        from crons.contrib.django_crontab import doctor

        return doctor.examine()


EXTENSION = DjangoCrontabExtension()
