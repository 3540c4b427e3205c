"""manage.py ensure_admin: a first account to log in with."""

import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError


class Command(BaseCommand):
    """Make the account `admin` with a random password, shown once, unless a superuser exists."""

    help = "Create the superuser 'admin' with a random password where there is no superuser."

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        if existing := users.filter(is_superuser=True, is_active=True).order_by("pk").first():
            name = existing.get_username()
            self.stdout.write(f"A superuser exists: {name}. A new password: manage.py changepassword {name}")
            return
        if users.filter(username="admin").exists():
            raise CommandError(
                "An account 'admin' exists but is no active superuser. "
                "Make another one: manage.py createsuperuser --username NAME"
            )
        password = secrets.token_urlsafe(15)
        users.create_superuser("admin", password=password)
        self.stdout.write(f"Created the superuser admin. The password is shown only now: {password}")
