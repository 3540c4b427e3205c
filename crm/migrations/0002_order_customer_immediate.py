"""On PostgreSQL, check that an order's customer exists when the order is written, not at its commit.

The check is what locks the customer's row. At commit it comes too late: a cleanup that runs in between
sees neither the order nor a lock, deletes the customer, and the order fails.
"""

from django.db import migrations


def check_at_once(apps, schema_editor):
    _alter(schema_editor, "INITIALLY IMMEDIATE")


def check_at_commit(apps, schema_editor):
    _alter(schema_editor, "INITIALLY DEFERRED")


def _alter(schema_editor, when):
    connection = schema_editor.connection
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, "crm_order")
    quote = schema_editor.quote_name
    for name, constraint in constraints.items():
        if constraint["foreign_key"] == ("crm_customer", "id"):
            schema_editor.execute(f"ALTER TABLE {quote('crm_order')} ALTER CONSTRAINT {quote(name)} DEFERRABLE {when}")


class Migration(migrations.Migration):
    dependencies = [("crm", "0001_initial")]
    operations = [migrations.RunPython(check_at_once, check_at_commit)]
