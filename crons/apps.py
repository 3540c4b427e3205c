"""The Django app. It imports nothing of the project at its start: crons.sources.loading does, when jobs are needed."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from django.apps import AppConfig, apps
from django.db.models.signals import pre_migrate
from django.utils.autoreload import BaseReloader, autoreload_started


class CronsConfig(AppConfig):
    """Declarations are loaded when somebody first asks for them; nothing is written then."""

    name = "crons"
    verbose_name = "Crons"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from crons import checks  # noqa: F401 (registers the checks; needs models)
        from crons.conf import conf
        from crons.events import narrate
        from crons.extensions import extensions
        from crons.hosts import in_tests
        from crons.jobs import registry

        for each in extensions():
            each.load_checks()
        narrate()
        autoreload_started.connect(watch_modules, dispatch_uid="crons.apps")
        pre_migrate.connect(in_tests.mark_by_test_database, sender=self)
        registry.defaults = lambda: conf.defaults
        registry.setup = lambda: apps.app_configs
        registry.load = load


def load() -> None:
    """Return when the declarations are loaded."""
    from crons.sources import loading  # with what jobs need: most processes of a site need none of it

    loading.load()


def watch_modules(sender: BaseReloader, **kwargs: object) -> None:
    """Have runserver notice when a module of declarations is changed: one that fails was never imported."""
    from crons.sources.loading import module_names

    for module in module_names():
        with suppress(ImportError, ValueError):
            if (spec := find_spec(module)) and spec.origin:
                sender.watch_dir(Path(spec.origin).parent, Path(spec.origin).name)
