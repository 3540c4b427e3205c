"""The project's Celery application: the broker of BROKER_URL, and the settings of CELERY."""

import json
import os

from celery import Celery

app = Celery("project", broker=os.environ.get("BROKER_URL", "memory://"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    **json.loads(os.environ.get("CELERY", "{}")),
)
app.autodiscover_tasks()
