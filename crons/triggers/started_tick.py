"""The `crons tick` that a web process starts, a process of its own, for what runs on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from crons import api, ledger
from crons.conf import conf
from crons.side_output import get_log

log = get_log("crons")
_started: list[subprocess.Popen[bytes]] = []


def see_that_it_begins() -> str:
    """See that somebody begins what is due on this machine; say who."""
    agenda = ledger.agenda()
    if not agenda.may_begin and not agenda.must_deliver:
        return "nothing to begin"
    if there := api.schedulers():
        return f"the scheduler on {there[0].host}"
    if not conf.http_tick.starts:
        return "nobody here: CRONS['HTTP_TICK']['STARTS'] is False"
    _started[:] = [each for each in _started if each.poll() is None]
    if _started:
        return f"crons tick, running since an earlier request (pid {_started[0].pid})"
    try:
        _started.append(_start())
    except OSError as error:
        about = {"event": "tick.not_started"}
        log.error("crons tick could not be started: %s", error, extra=about)  # noqa: TRY400 (the sentence says all)
        return f"nobody here: crons tick could not be started: {error.strerror}"
    return f"crons tick, started now (pid {_started[0].pid})"


def _start() -> subprocess.Popen[bytes]:
    """Start `crons tick` with this process's settings and paths; it goes on when the web server is restarted."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if settings.SETTINGS_MODULE:
        env["DJANGO_SETTINGS_MODULE"] = settings.SETTINGS_MODULE
    return subprocess.Popen(
        # Another is not started while it runs: alerts and slots must not wait for the end of a long job.
        [_python(), "-m", "django", "crons", "tick", "--while-busy"],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def _python() -> str:
    # Inside uWSGI, sys.executable is uWSGI.
    if Path(sys.executable).name.startswith("python"):
        return sys.executable
    return str(Path(sys.prefix, "bin", "python3"))
