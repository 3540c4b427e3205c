"""The CRM as a Django app."""

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.db.backends.signals import connection_created

from crm.privacy import close_database


class CrmConfig(AppConfig):
    """Customers, products and orders."""

    name = "crm"
    verbose_name = "CRM"

    def ready(self) -> None:
        import_module("crm.checks")
        connection_created.connect(close_database, dispatch_uid="crm.privacy")
        if settings.CRM_BROKER_URL:
            # Sends by the CRM's own application, and shows its names in django-celery-beat's admin.
            import_module("crm.celery")
