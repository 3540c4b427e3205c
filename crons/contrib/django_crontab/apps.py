"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class DjangoCrontabConfig(AppConfig):
    """Nothing but a management command; an app that stands earlier overrides the commands of later ones."""

    name = "crons.contrib.django_crontab"
    label = "crons_django_crontab"
    verbose_name = "django-crontab through Crons"
