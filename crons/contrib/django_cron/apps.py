"""The Django app. Importing this module, which Django does before it loads any models, registers the alias."""

from __future__ import annotations

from django.apps import AppConfig

from crons.contrib.django_cron import alias

alias.register()


class DjangoCronConfig(AppConfig):
    """Nothing but commands, and the name `django_cron` for modules that are imported after this one."""

    name = "crons.contrib.django_cron"
    label = "crons_django_cron"
    verbose_name = "django-cron through Crons"
