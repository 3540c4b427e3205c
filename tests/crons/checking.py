"""What tests of system checks share: a configuration without a mistake, and what all checks say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps as django_apps
from django.core.checks import CheckMessage
from django.core.checks import registry as django_checks
from django.core.management import get_commands

from crons import checks
from crons.jobs import job
from crons.schedules import every
from tests.crons import cronjobs

INLINE = {"EXECUTORS": {"inline": {"BACKEND": "builtins.object"}, "process": {"BACKEND": "builtins.object"}}}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which apps are installed, in which order, without loading them."""
    get_commands()  # Django remembers them: asked for below first, it would look for them in apps that are none

    def put(*names: str) -> None:
        configs = [type("Config", (), {"name": name}) for name in names]
        monkeypatch.setattr(django_apps, "get_app_configs", lambda: configs)

    return put


@pytest.fixture
def well(settings: Any, monkeypatch: pytest.MonkeyPatch, installed: Callable[..., None]) -> None:
    """A configuration without a mistake."""
    settings.CRONS = dict(INLINE)
    settings.CRONJOBS = []
    settings.CRON_CLASSES = []
    installed("crons")
    # Django remembers its answer: it must not be of apps that are made up.
    monkeypatch.setattr(checks.jobs, "get_commands", lambda: {"clearsessions": "django.contrib.sessions"})
    settings.USE_TZ = True
    settings.TIME_ZONE = "Europe/Berlin"
    settings.ADMINS = [("Ann", "ann@example.org")]
    # In place: Django warns where the whole setting is replaced. Nothing here opens a connection.
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/x/db.sqlite3", "OPTIONS": {}}
    for key, value in database.items():
        monkeypatch.setitem(settings.DATABASES["default"], key, value)


@pytest.fixture
def declared() -> None:
    """A job that CRONJOBS lines may name."""
    job(every(minutes=5), name="heartbeat")(cronjobs.beat)


def registered() -> Iterator[Callable[..., Any]]:
    """List our checks, those of other systems' folders too, in the order in which they were registered."""
    for check in [*django_checks.registry.registered_checks, checks.check_deployment]:
        if "crons" in check.tags:
            yield check


def found() -> list[CheckMessage]:
    """Return what all of them say."""
    return [message for check in registered() for message in check(app_configs=None, databases=None)]


def only() -> CheckMessage:
    """Return the one thing that they say."""
    (message,) = found()
    return message


def told(text: str, hint: str) -> None:
    """Assert that they say this, and nothing else."""
    message = only()
    assert message.msg == text
    assert message.hint == hint
