"""Secrets in CRONJOBS: what a line of django-crontab prints, cron mails."""

import pytest
from django.core.management import CommandError

from crons.contrib.django_crontab.lines import hash_of
from crons.contrib.django_crontab.management.commands import crontab
from crons.jobs import job
from crons.schedules import cron
from tests.crons import cronjobs
from tests.crons.test_secrets_of_arguments import GIVEN, OF_PROJECT, hidden

pytestmark = pytest.mark.usefixtures("empty_registry", "transactional_db")
HERE = "tests.crons.cronjobs"


def test_what_cron_mails_shows_no_secrets(settings, monkeypatch):
    """The line calls a declared job with arguments that code does not declare: the message repeats them."""
    monkeypatch.delenv("CRONS_ATTEMPT", raising=False)
    job(cron("@daily"), name="load")(cronjobs.load)
    settings.PAYMENT_SECRET = OF_PROJECT
    settings.CRONJOBS = [("@daily", f"{HERE}.load", [], dict(GIVEN))]

    with pytest.raises(CommandError) as refused:
        crontab.Command().handle(subcommand="run", jobhash=hash_of(settings.CRONJOBS[0]))

    hidden(str(refused.value))
