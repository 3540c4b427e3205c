"""The project's Celery application, with the broker of BROKER_URL."""

import os

from celery import Celery

app = Celery("contracts", broker=os.environ.get("BROKER_URL", "memory://"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)
app.autodiscover_tasks()
