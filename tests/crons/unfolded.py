"""Settings of a site whose admin is django-unfold's; as a program, that site on a free port, until its input ends."""

import os
import sys
import threading
from typing import Any

from tests.settings import *  # noqa: F403 (a settings module takes all of its base)
from tests.settings import INSTALLED_APPS as PLAIN
from tests.settings import MIDDLEWARE as STRICT

INSTALLED_APPS = ["unfold", *PLAIN]
# Its scripts are written into its pages and evaluated, which the CRM's policy forbids.
MIDDLEWARE = [each for each in STRICT if "csp" not in each.lower()]


def main() -> None:
    """Print the port and the key of a session of a person who may do all."""
    os.environ["DJANGO_SETTINGS_MODULE"] = __spec__.name if __spec__ else "tests.crons.unfolded"
    import django

    django.setup()
    from django.conf import settings
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    settings.DEBUG = settings.WHITENOISE_USE_FINDERS = True
    server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port} {session()}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()


def session() -> str:
    """Log a person in."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
    from django.contrib.sessions.backends.db import SessionStore

    person = get_user_model().objects.create_superuser("dana")
    made = SessionStore()
    made[SESSION_KEY] = str(person.pk)
    made[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    made[HASH_SESSION_KEY] = person.get_session_auth_hash()
    made.save()
    return str(made.session_key)


if __name__ == "__main__":
    main()
