"""A process that is one command ends sooner: nothing of what it imported is looked through again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import atexit, gc, sys
from django.core.management import execute_from_command_line
atexit.register(lambda: print(gc.get_freeze_count() > 10_000))
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["crons", "tick", "--help"], True), (["update_low_stock", "--help"], True), (["shell", "--help"], False)],
)
def test_what_crontab_lines_start_ends_sooner(arguments, expected):
    """Python's own end looks through all that there is, for a tenth of what such a process takes."""
    assert ends_sooner(*arguments) is expected


def ends_sooner(*arguments: str) -> bool:
    """Say whether a process of `manage.py` with *arguments* leaves out what Python does at its end."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1] == "True"
