"""Testing scheduled jobs in one's own project: what is due, one run, a whole weekend; by a clock of the test's own.

How to use it, with examples that are run: docs/howto/testing.md.
"""

from crons.hosts.in_tests import schedulers
from crons.testing import clock
from crons.testing.declared import Due, due, sandbox
from crons.testing.playing import play
from crons.testing.recording import run_recorded
from crons.testing.results import Result
from crons.testing.running import run

__all__ = ["Due", "Result", "clock", "due", "play", "run", "run_recorded", "sandbox", "schedulers"]
