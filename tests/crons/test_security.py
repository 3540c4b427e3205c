"""What is in the database decides when, never what."""

from __future__ import annotations

import pytest

from crons import job, shell
from crons.models import Attempt, Entry, Run
from crons.testing.scheduler import scheduler
from tests.crons.conftest import NOON, minutes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_registry")]


@pytest.mark.parametrize(
    "named", ["os.system", "os:system", "subprocess.run", "touch", "builtins.exec", "crons.jobs.callables.ShellBody"]
)
def test_a_row_that_names_code_is_never_begun(make_entry, tmp_path, named):
    """Whoever can write rows decides when declared jobs run; a path to a function is not one of them."""
    job(None, name="declared")(print)
    make_entry("stranger", args={"command": f"touch {tmp_path / 'harm'}"})
    Entry.objects.update(job=named)

    with scheduler() as here:
        done = here.dispatcher.turn(NOON + minutes(5))
        here.work()

    assert (done.runs, done.begun) == (1, [])
    assert Run.objects.get().state == "due"
    assert (Attempt.objects.count(), list(tmp_path.iterdir())) == (0, [])


def test_arguments_in_a_row_reach_no_program(make_entry, tmp_path):
    """A declared program is called as it was declared or not at all."""
    shell(["/usr/bin/touch", str(tmp_path / "declared")], name="touches")
    make_entry("touches", args={"program": ["/usr/bin/touch", str(tmp_path / "harm")], "cwd": "/"})

    with scheduler() as here:
        here.dispatcher.turn(NOON + minutes(5))
        here.work()

    attempt = Attempt.objects.get()
    assert (attempt.outcome, list(tmp_path.iterdir())) == ("failed", [])
    assert "unexpected keyword argument" in attempt.error
