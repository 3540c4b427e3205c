"""`crons log --follow`: what a run's attempts write, on the terminal, until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from crons.conf import conf
from crons.management.output import Out
from crons.models import Attempt, OutputChunk, Run
from crons.presentation import as_json, describe_run
from crons.triggers.following import POLL_SECONDS, Following
from crons.verdicts import Verdict

STOPPED_BY_CTRL_C = 130


@dataclass
class Follower:
    """Prints what one run writes; *pause* waits between looks."""

    run: Run
    out: Out
    stream: str = ""
    pause: Callable[[float], None] = time.sleep

    def follow(self) -> int:
        """Print until the run is over; return 0 if it succeeded, else what its last attempt exited with."""
        following = Following(self.run, self.out.note, self._print)
        try:
            while not following.poll():
                self.pause(POLL_SECONDS)
        except KeyboardInterrupt:
            self.out.note(f"run {self.run.pk} goes on. See: manage.py crons show {self.run.pk}")
            return STOPPED_BY_CTRL_C
        if following.was_deleted:
            return 1
        run = following.run
        self.out.note(f"run {run.pk} of {run.entry.name}: {describe_run(run).text}")
        return _exit_code(run)

    def _print(self, chunk: OutputChunk) -> None:
        if self.stream and chunk.stream != self.stream:
            return
        if self.out.json:
            self.out.row(as_json(chunk))
        else:
            self.out.text(chunk.text)
            self.out.stdout.flush()


def _exit_code(run: Run) -> int:
    if run.verdict == Verdict.SUCCEEDED:
        return 0
    last = Attempt.objects.using(conf.database).filter(pk=run.current_attempt or 0).first()
    code = (last.exit_code if last else None) or 1
    return code if code > 0 else 128 - code  # as a shell says of what a signal ended
