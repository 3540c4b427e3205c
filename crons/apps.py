"""The Django app: finds the `cron` module of every installed app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class CronsConfig(AppConfig):
    """Declarations are read when the apps are ready; nothing is written then."""

    name = "crons"
    verbose_name = "Crons"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from crons import checks  # noqa: F401 (registers the checks; needs models)
        from crons.conf import conf
        from crons.jobs import registry
        from crons.sources.cronjobs import CronjobsSource

        registry.defaults = lambda: conf.defaults
        autodiscover_modules("cron")
        # A process begins only jobs that it knows, and tick and run never sync: read what CRONJOBS declares here.
        CronjobsSource().read()
