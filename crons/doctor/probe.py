"""A program, started by `crons doctor` as a crontab line would start manage.py: what does it come to there?

`python probe.py REPORT MANAGE_PY` does what manage.py does until it would carry out a command, and writes to
the file REPORT, as JSON, what was found; what stops it on the way is raised, for whoever reads stderr.
"""

from __future__ import annotations

import hashlib
import json
import os
import runpy
import sys
from types import FrameType
from typing import Any

ENVIRON: Any = type(os.environ)
READ = ENVIRON.__getitem__


def main(report: str, manage_py: str) -> None:
    """Watch the start of *manage_py*, and write *report* however it ends."""
    found: dict[str, Any] = {"stage": "start"}
    asked: set[str] = set()
    _listen(asked)
    # As Python does for the script itself.
    sys.path[0] = os.path.dirname(manage_py)
    sys.argv = [manage_py]
    try:
        from django.core import management

        management.execute_from_command_line = lambda argv=None: _look(found)
        runpy.run_path(manage_py, run_name="__main__")
    finally:
        # Values may be secrets: whoever compares them needs only to see whether they are the same.
        found["asked"] = {name: fingerprint(os.environ[name]) if name in os.environ else None for name in sorted(asked)}
        with open(report, "w", encoding="utf-8") as file:
            json.dump(found, file)


def fingerprint(value: str) -> str:
    """Return what is the same only for the same value."""
    return hashlib.sha256(os.fsencode(value)).hexdigest()


def _look(found: dict[str, Any]) -> None:
    import django
    from django.conf import settings

    found.update(settings_module=os.environ.get("DJANGO_SETTINGS_MODULE", ""), stage="settings")
    found["time_zone"] = settings.TIME_ZONE
    found["stage"] = "apps"
    django.setup()
    from django.db import connections

    from crons.conf import conf
    from crons.jobs import registry
    from crons.ledger import deployment
    from crons.models import Deployment

    found.update(entries=sorted(registry.entries), broken=registry.broken, enabled=conf.enabled, stage="database")
    connections[conf.database].ensure_connection()
    place = deployment.here()
    found.update(identity=place.identity, described=place.described, stage="tables")
    found["has_tables"] = Deployment._meta.db_table in connections[conf.database].introspection.table_names()
    found["stage"] = "end"


def _listen(asked: set[str]) -> None:
    """Note the variables that the settings, or what they call, ask for."""

    def read(environ: Any, name: str) -> Any:
        if isinstance(name, str) and _comes_from_settings(sys._getframe(1), environ):
            asked.add(name)
        return READ(environ, name)

    ENVIRON.__getitem__ = read


def _comes_from_settings(frame: FrameType | None, environ: Any) -> bool:
    try:
        module = READ(environ, "DJANGO_SETTINGS_MODULE")
    except KeyError:
        return False
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
