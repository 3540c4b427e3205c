"""The CRM as a Django app."""

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings


class CrmConfig(AppConfig):
    """Customers, products and orders."""

    name = "crm"
    verbose_name = "CRM"

    def ready(self) -> None:
        if settings.CRM_BROKER_URL:
            # Sends by the CRM's own application, and shows its names in django-celery-beat's admin.
            import_module("crm.celery")
