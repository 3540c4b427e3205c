"""The demo's account: its password stands beside the address at each start, until somebody changes it."""

import io
import os
from contextlib import suppress
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command

NAME = "admin"


def ensure(path: Path) -> None:
    """Make the account where there is none, and leave name and password in *path* for as long as they open."""
    said = io.StringIO()
    call_command("ensure_admin", stdout=said)
    created, _, password = said.getvalue().strip().rpartition("The password is shown only now: ")
    if created:
        with suppress(FileNotFoundError):
            path.unlink()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{NAME} {password}\n")
        return
    account = get_user_model().objects.filter(username=NAME).first()
    kept = path.read_text().split() if path.exists() else []
    if account is None or len(kept) != 2 or not account.check_password(kept[1]):
        with suppress(FileNotFoundError):
            path.unlink()
        print(said.getvalue().strip())
