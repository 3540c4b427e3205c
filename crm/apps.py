"""The CRM as a Django app."""

from django.apps import AppConfig


class CrmConfig(AppConfig):
    """Customers, products and orders."""

    name = "crm"
    verbose_name = "CRM"
