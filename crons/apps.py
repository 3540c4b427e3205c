"""The Django app: finds the `cron` modules, those of every installed app and the project's own.

The project's own stands beside the settings: `mysite/cron.py` for `mysite.settings`. The package that
`startproject` makes is no installed app, and yet where a newcomer puts the first job.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models.signals import pre_migrate
from django.utils.autoreload import BaseReloader, autoreload_started
from django.utils.module_loading import module_has_submodule


class CronsConfig(AppConfig):
    """Declarations are read when the apps are ready; nothing is written then."""

    name = "crons"
    verbose_name = "Crons"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from crons import checks, suite  # noqa: F401 (registers the checks; needs models)
        from crons.conf import conf
        from crons.exceptions import DeclarationError
        from crons.jobs import registry
        from crons.own_jobs import declare
        from crons.sources.code import load
        from crons.sources.cron_classes import CronClassesSource
        from crons.sources.cronjobs import CronjobsSource

        autoreload_started.connect(watch_broken, dispatch_uid="crons.apps")
        pre_migrate.connect(suite.mark_by_test_database, sender=self)
        registry.defaults = lambda: conf.defaults
        registry.setup = lambda: apps.app_configs
        with suppress(DeclarationError):  # crons.E001 says it
            declare()
        for config in apps.get_app_configs():
            if config.module is not None and module_has_submodule(config.module, "cron"):
                load(f"{config.name}.cron")
        if beside := cron_beside(settings.SETTINGS_MODULE or ""):
            load(beside)
        # A process begins only jobs that it knows, and tick and run never sync: read what settings declare here.
        CronjobsSource().read()
        CronClassesSource().read()


def cron_beside(settings_module: str) -> str:
    """Name the `cron` module of the innermost package around the settings that has one; empty without any."""
    package = settings_module.rpartition(".")[0]
    while package:
        if find_spec(f"{package}.cron"):
            return f"{package}.cron"
        package = package.rpartition(".")[0]
    return ""


def watch_broken(sender: BaseReloader, **kwargs: object) -> None:
    """Have runserver notice when a `cron` module is mended: it watches only what could be imported."""
    from crons.jobs import registry

    for module in registry.broken:
        if (spec := find_spec(module)) and spec.origin:
            sender.watch_dir(Path(spec.origin).parent, Path(spec.origin).name)
