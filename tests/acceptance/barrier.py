"""Run a management command of the test project that waits, right before it records, until all racers are there.

python -m tests.acceptance.barrier READY GATE manage-arguments…
READY is a descriptor to say on that this process has arrived; GATE is one whose end lets everybody go.
The product knows nothing of this: the barrier is put around its functions from outside.
"""

from __future__ import annotations

import os
import sys
from typing import Any


class Barrier:
    """Lets nobody pass until the gate opens; open for good afterwards."""

    def __init__(self, ready: int, gate: int) -> None:
        self.ready, self.gate, self.is_open = ready, gate, False

    def stand(self) -> None:
        """Say that this process is here, and wait."""
        if self.is_open:
            return
        self.is_open = True
        os.write(self.ready, b"r")
        os.close(self.ready)
        os.read(self.gate, 1)
        os.close(self.gate)

    def before(self, place: Any, name: str) -> None:
        """Stand at the barrier when *name* is called for the first time."""
        real = getattr(place, name)

        def wait_and_call(*args: Any, **kwargs: Any) -> Any:
            self.stand()
            return real(*args, **kwargs)

        setattr(place, name, wait_and_call)


if __name__ == "__main__":
    import django

    django.setup()
    from django.core.management import execute_from_command_line

    from crons import ledger

    barrier = Barrier(int(sys.argv[1]), int(sys.argv[2]))
    barrier.before(ledger, "record")
    barrier.before(ledger, "record_entry")
    execute_from_command_line(["manage.py", *sys.argv[3:]])
