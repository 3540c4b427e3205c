"""Processes that do different things to the same rows at the same moment; one JSON line per process.

python -m tests.acceptance.rivals ACT…
Each ACT is a function below and gets a process of its own, forked from one warm process. All start at once, and each
works until there is nothing left for it. It tells its name and what it has counted.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections import Counter
from typing import Any, NoReturn

STARTED, PATIENCE_SECONDS = time.monotonic(), 100
LIMIT = 2
TRIES = 30
SAID = 5


def begin_and_finish() -> dict[str, Any]:
    """Begin what there is, count how many of the group go, finish them; until all runs are over."""
    from crons import ledger
    from crons.attempts import Finished
    from crons.hosts.instances import Instance
    from crons.models import Run
    from crons.verdicts import Ending, Outcome

    instance, most, begun_in_all = Instance.start("rival"), 0, 0
    while Run.objects.exclude(state="done").exists():
        begun = ledger.begin(ledger.database_now(), {"process": 4}, ["heavy"], instance)
        most = max(most, Run.objects.filter(state="running").count())
        begun_in_all += len(begun)
        ends = [Finished(each.attempt, Ending(Outcome.SUCCEEDED)) for each in begun]
        if ends:
            ledger.finish(ends, ledger.database_now())
    return {"most": most, "begun": begun_in_all}


def prune() -> dict[str, Any]:
    """Delete what is old, a few rows at a time."""
    from crons import ledger

    done = ledger.prune(ledger.database_now(), by="rival", pause=lambda seconds: None)
    return {"runs": sum(done.runs.values())}


def retry_each() -> dict[str, Any]:
    """Reopen every run, the newest first: prune comes from the other side."""
    return _each("-pk", lambda ledger, run: ledger.retry(run, ledger.database_now(), by="rival"))


def cancel_each() -> dict[str, Any]:
    """Ask for every run to be stopped."""
    return _each("pk", lambda ledger, run: ledger.request_cancel(run, ledger.database_now(), reason="r", by="rival"))


def finish_each() -> dict[str, Any]:
    """Let every attempt succeed, one by one."""
    from crons import ledger
    from crons.attempts import Finished
    from crons.models import Attempt
    from crons.verdicts import Ending, Outcome

    accepted = 0
    for pk in Attempt.objects.order_by("pk").values_list("pk", flat=True):
        accepted += ledger.finish([Finished(pk, Ending(Outcome.SUCCEEDED))], ledger.database_now())[pk]
    return {"accepted": accepted}


def fail_again() -> dict[str, Any]:
    """Begin the run whenever it waits, and let it fail; the thirtieth try succeeds."""
    from crons import ledger
    from crons.attempts import Finished
    from crons.hosts.instances import Instance
    from crons.verdicts import Ending, Outcome

    instance, numbers = Instance.start("rival"), []
    while len(numbers) < TRIES:
        for each in ledger.begin(ledger.database_now(), {"process": 1}, ["heavy"], instance):
            numbers.append(each.number)
            outcome = Outcome.FAILED if len(numbers) < TRIES else Outcome.SUCCEEDED
            ledger.finish([Finished(each.attempt, Ending(outcome))], ledger.database_now())
    return {"numbers": numbers}


def retry_on() -> dict[str, Any]:
    """Reopen the one run until it has succeeded."""
    from crons import ledger
    from crons.exceptions import Refused
    from crons.models import Run

    done, refused, run = 0, Counter[str](), Run.objects.get().pk
    while not refused["has succeeded"]:
        if not Run.objects.filter(state="done").exists():
            continue  # to ask all the time would leave SQLite's only write lock to nobody else
        try:
            ledger.retry(run, ledger.database_now(), by="rival")
            done += 1
        except Refused as error:
            refused["has succeeded" if "has succeeded" in str(error) else str(error).partition(":")[0]] += 1
    return {"done": done, "refused": sorted(refused)}


def watch() -> dict[str, Any]:
    """Ask the rules and tell people, until there was something wrong and all of it is over."""
    from crons import ledger
    from crons.watch import inspect_rules, send_due

    looks = 0
    while not _is_well_again():
        inspect_rules(ledger.database_now())
        send_due(ledger.database_now())
        looks += 1
    send_due(ledger.database_now())
    return {"looks": looks}


def acknowledge() -> dict[str, Any]:
    """Say of each incident that it is in hand: when it has opened, a few times more, and when it is over."""
    from crons import ledger
    from crons.exceptions import Refused
    from crons.models import Incident
    from crons.watch import acknowledge

    said, refused = Counter[int](), set()
    while not _is_well_again():
        for pk in Incident.objects.values_list("pk", flat=True):
            if said[pk] == SAID:
                continue  # to write all the time would leave SQLite's only write lock to nobody else
            said[pk] += 1
            try:
                acknowledge(pk, ledger.database_now(), by="rival")
            except Refused as error:
                refused.add(str(error).replace(str(pk), "N", 1).partition(" since")[0])
    return {"said": sum(said.values()), "refused": sorted(refused)}


def mend() -> dict[str, Any]:
    """Mend all that cannot be planned, once all of it is known to be so and somebody has it in hand."""
    from crons.models import Entry, Incident

    parked = Entry.objects.exclude(parked_reason="")
    while Incident.objects.filter(acknowledged_at__isnull=False).count() < parked.count() and not _is_well_again():
        pass
    return {"mended": parked.update(parked_reason="")}


def _is_well_again() -> bool:
    """Say whether all incidents are over; also when that took too long, so that the test says what is not so."""
    from crons.models import Entry, Incident

    if time.monotonic() - STARTED > PATIENCE_SECONDS:
        return True

    over = Incident.objects.filter(closed_at__isnull=False).count()
    return over == Entry.objects.filter(name__startswith="heavy").count()


def _each(order: str, act: Any) -> dict[str, Any]:
    from crons import ledger
    from crons.exceptions import Refused
    from crons.models import Run

    done, refused = [], set()
    for pk in list(Run.objects.order_by(order).values_list("pk", flat=True)):
        try:
            act(ledger, pk)
            done.append(pk)
        except Refused as error:
            refused.add(str(error).replace(str(pk), "N").partition(". ")[0].removesuffix("."))
    return {"done": done, "refused": sorted(refused)}


def rival(act: str, gate: int, told: int) -> NoReturn:
    """Wait for the gate, act, tell, and end."""
    code = 1
    try:
        os.read(gate, 1)
        os.write(told, (json.dumps({"act": act, **globals()[act]()}) + "\n").encode())
        code = 0
    except Exception:  # noqa: BLE001 - told to the test, which fails over it
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    import django
    from django.conf import settings

    django.setup()
    settings.CRONS = {**settings.CRONS, "GROUPS": {"heavy": LIMIT}}
    from django.db import connections

    connections.close_all()
    gate, opens = os.pipe()
    told_read, told = os.pipe()
    children = []
    for wanted in sys.argv[1:]:
        child = os.fork()
        if child == 0:
            os.close(opens)
            rival(wanted, gate, told)
        children.append(child)
    os.close(opens)
    os.close(told)
    with open(told_read) as lines:
        sys.stdout.write(lines.read())
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
