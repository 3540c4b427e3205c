"""The declarations of the project are loaded here: once in a process, when something first needs them.

Not when Django starts. A module called `cron` may be a script of the project that knows nothing of crons, and
do its work when it is imported; `migrate`, `runserver` and the project's own commands must not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec

from django.apps import apps
from django.conf import settings
from django.utils.module_loading import module_has_submodule

from crons.conf import conf
from crons.exceptions import DeclarationError, InvalidSetting
from crons.jobs import registry
from crons.sources import sources
from crons.sources.built_in import declare
from crons.sources.code import load as load_module


class Loader:
    """Called: returns when the declarations are loaded. Threads wait for the one that loads."""

    def __init__(self) -> None:
        self._is_loading = False
        self._lock = threading.RLock()

    def __call__(self) -> None:
        if registry.is_loaded:
            return
        with self._lock:
            # What is imported here may read the registry, in this thread: it gets what is declared so far.
            if registry.is_loaded or self._is_loading:
                return
            self._is_loading = True
            try:
                _load_all()
                registry.is_loaded = True
            finally:
                self._is_loading = False


load = Loader()


def module_names() -> list[str]:
    """Name the modules that declare: the `cron` modules of apps and of the project, and CRONS["MODULES"]."""
    names: dict[str, None] = {}
    with suppress(InvalidSetting):  # crons.E001 says it
        if conf.discover:
            names |= dict.fromkeys([*_of_apps(), *_of_project()])
    with suppress(InvalidSetting):
        names |= dict.fromkeys(conf.modules)
    return list(names)


def _load_all() -> None:
    with suppress(DeclarationError):  # crons.E001 says it
        declare()
    registry.modules = module_names()
    for name in registry.modules:
        load_module(name)
    # A process begins only jobs that it knows, and tick and run never sync: what settings declare is read here.
    for source in sources():
        source.read()


def _of_apps() -> Iterator[str]:
    for config in apps.get_app_configs():
        if config.module is not None and module_has_submodule(config.module, "cron"):
            yield f"{config.name}.cron"


def _of_project() -> Iterator[str]:
    yield from cron_modules_around(settings.SETTINGS_MODULE)
    yield from cron_modules_around(getattr(settings, "ROOT_URLCONF", ""))


def cron_modules_around(module: object) -> Iterator[str]:
    """Name the `cron` modules beside *module*, the settings or the URLs, and in the packages around it.

    The package that `startproject` makes is no installed app, and yet where a newcomer puts the first job.
    """
    package = module.rpartition(".")[0] if isinstance(module, str) else ""
    while package:
        with suppress(ImportError, ValueError):
            if find_spec(f"{package}.cron"):
                yield f"{package}.cron"
        package = package.rpartition(".")[0]
