"""`manage.py export_schema crm.schema:schema`: strawberry's own command.

Its app is not installed: every process would import all of GraphQL, a crontab line too.
"""

from strawberry_django.management.commands.export_schema import Command

__all__ = ["Command"]
