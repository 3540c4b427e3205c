"""What tests of Django's Tasks share: the setting TASKS."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from crons.contrib.django_tasks.executor import framework

DATABASE = "django_tasks_db.DatabaseBackend"


@pytest.fixture
def backends(settings: Any) -> Callable[..., None]:
    """Give settings.TASKS."""
    import_module(f"{framework().__name__}.signals")  # the backport reads changed settings once this is imported

    def give(**backends: Any) -> None:
        settings.TASKS = backends

    return give
