"""manage.py export_schema: the text of the GraphQL schema, for schema.graphql."""

from typing import Any

from django.core.management import BaseCommand
from django.utils.module_loading import import_string


class Command(BaseCommand):
    """Print the schema. Its module is imported here alone: a crontab line does not pay for GraphQL."""

    help = "Print the GraphQL schema as text; schema.graphql is what was committed of it."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(import_string("crm.schema.schema").as_str())
