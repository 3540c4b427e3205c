"""The project as one whose app asks the database while Django starts."""

from django.apps import AppConfig


class AsksAtStart(AppConfig):
    """Opens the database's pool of connections before anything is forked."""

    name = "tests.acceptance.project"
    default = False  # only where the settings name it: alone in this module, Django would take it for the app

    def ready(self) -> None:
        """Ask something."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
