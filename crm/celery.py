"""The Celery application of the CRM: `celery -A crm worker`, `celery -A crm beat`; the broker is CRM_BROKER_URL."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "crm.settings")

app = Celery("crm")
app.set_default()  # in every thread: a web server's are not the one that imports this
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
