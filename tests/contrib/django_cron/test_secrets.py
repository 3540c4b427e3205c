"""Secrets in CRON_CLASSES."""

import pytest

from crons.contrib.django_cron.source import CronClassesSource
from tests.contrib.django_cron import cron_classes
from tests.crons.test_secrets_of_arguments import BY_NAME, hidden

pytestmark = pytest.mark.usefixtures("empty_registry")


def test_what_is_said_of_a_class_shows_no_secrets(settings, monkeypatch):
    """JOB_OPTIONS may hold anything."""
    monkeypatch.setattr(cron_classes.NotOurs, "JOB_OPTIONS", {"tags": f"region api_token={BY_NAME}"}, raising=False)
    settings.CRON_CLASSES = ["tests.contrib.django_cron.cron_classes.NotOurs"]

    [problem] = CronClassesSource().read().problems

    hidden(problem.text)
