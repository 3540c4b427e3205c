"""Many processes that record and begin one entry's slot at the same moment; one line per racer.

python -m tests.acceptance.racers COUNT ENTRY
Half of them begin whatever is due, as tick does; half of them that run only, as run NAME does.
Forked from one warm process, which is much cheaper than as many interpreters.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn


def race(name: str, gate: int, told: int, *, by_name: bool) -> NoReturn:
    """Wait for the gate, record and begin, tell "recorded begun state-of-the-run trigger", and end."""
    from crons import ledger
    from crons.hosts.instances import Instance
    from crons.models import Run

    code = 1
    try:
        os.read(gate, 1)
        now = ledger.database_now()
        recorded = ledger.record_entry(name, now, f"racer {os.getpid()}")
        instance = Instance.start("racer")
        run = Run.objects.latest("pk")
        begun = ledger.begin(now, {"process": 4}, [name], instance, only_run=run.pk if by_name else None)
        run.refresh_from_db()
        trigger = "name" if by_name else "tick"
        os.write(told, f"{len(recorded.runs)} {len(begun)} {run.state} {trigger}\n".encode())
        code = 0
    except Exception:  # noqa: BLE001 - told to the test, which fails over it
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    import django

    django.setup()
    from django.db import connections

    connections.close_all()
    gate, opens = os.pipe()
    told_read, told = os.pipe()
    children = []
    for number in range(int(sys.argv[1])):
        child = os.fork()
        if child == 0:
            os.close(opens)
            race(sys.argv[2], gate, told, by_name=number % 2 == 1)
        children.append(child)
    os.close(opens)
    os.close(told)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    with open(told_read) as lines:
        sys.stdout.write(lines.read())
    sys.exit(max(codes))
