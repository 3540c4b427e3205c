"""The name `django_cron`, where the package of that name is absent."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from crons.contrib.django_cron import classes

NAMES = ("CronJobBase", "Schedule")
# Where the real package, or people's habit, has the names.
MODULES = ("django_cron", "django_cron.core", "django_cron.models", "django_cron.cron")
GONE = {
    "CronJobLog": "what ran is in the ledger: crons.api.history(code), a query of crons.models.Run",
    "CronJobLock": "the ledger holds no such locks",
    "CronJobManager": "the ledger runs jobs: crons.api.run_now(code, by=…)",
    "FailedRunsNotificationCronJob": "failures are told by crons itself: take it out of CRON_CLASSES",
}


def register() -> bool:
    """Make `import django_cron` give our classes, unless the real package is installed; say whether it does now."""
    if is_registered():
        return True
    if "django_cron" in sys.modules or find_spec("django_cron") is not None:
        return False
    for name in MODULES:
        sys.modules[name] = _module(name)
    return True


def is_registered() -> bool:
    """Say whether the name is ours."""
    return getattr(sys.modules.get("django_cron"), "CronJobBase", None) is classes.CronJobBase


def _module(name: str) -> ModuleType:
    module = ModuleType(name, f"{name} as crons.contrib.django_cron gives it; the real package is not installed.")
    # No __path__: whoever looks for submodules, as Django does for apps, finds none. A line "django_cron" left in
    # INSTALLED_APPS is then an app without anything, in a directory where no commands are found a second time.
    module.__spec__ = ModuleSpec(name, None, origin=__file__)
    module.__file__ = str(Path(__file__).parent / "management" / "__init__.py")
    for each in NAMES if name in ("django_cron", "django_cron.core") else ():
        setattr(module, each, getattr(classes, each))

    def missing(wanted: str) -> Any:
        if wanted in GONE:
            raise ImportError(f"{name}.{wanted} does not exist with crons.contrib.django_cron: {GONE[wanted]}.")
        raise AttributeError(f"module {name!r} has no attribute {wanted!r}")

    module.__getattr__ = missing  # type: ignore[method-assign] # what PEP 562 asks for
    return module
