"""Many schedulers at once, of all kinds: each slot is recorded once, begun once, and done once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter

import pytest

from tests.acceptance.conftest import Site, is_readable

SLOTS = 1000
RACERS = 50
SUCCEEDED_AT_ONCE = ("succeeded", 1, "succeeded")


class Start:
    """Where processes stand until all of them are there."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.waiting: list[subprocess.Popen[str]] = []
        self._ready, self._say_ready = os.pipe()
        self._gate, self._open_gate = os.pipe()

    def line_up(self, *arguments: str, **env: str) -> None:
        """Start `manage.py crons …`, which waits right before it records."""
        ends = (self._say_ready, self._gate)
        command = ["-m", "tests.acceptance.barrier", *map(str, ends), "crons", *arguments]
        self.waiting.append(self.site.start_python(*command, pass_fds=ends, **env))

    def go(self) -> None:
        """Let all of them go at once; fail if one did not arrive."""
        os.close(self._say_ready)
        os.close(self._gate)
        arrived = 0
        while arrived < len(self.waiting) and is_readable(self._ready):
            arrived += len(os.read(self._ready, len(self.waiting)))
        os.close(self._ready)
        os.close(self._open_gate)
        assert arrived == len(self.waiting)


@pytest.mark.slow(60)
def test_a_thousand_slots_are_done_once_by_eight_racing_processes(site: Site) -> None:
    """Redundant triggers are a feature: whoever wins, no slot is missed and none is done twice."""
    os.mkfifo(site.folder / "told")
    told = os.open(site.folder / "told", os.O_RDWR)
    env = {"TEST_ENTRIES": str(SLOTS), "TRACES": str(site.folder / "told")}
    site.crons("sync", **env)
    site.make_all_due("traced_%")
    start = Start(site)
    for _ in range(3):
        start.line_up("serve", **env)
    for _ in range(3):
        start.line_up("tick", **env)
    start.line_up("run", "traced_0007", "--scheduled", **env)
    start.line_up("run", "traced_0993", "--scheduled", **env)

    start.go()
    with open(told, closefd=False) as lines:
        traces = [lines.readline().split() for _ in range(SLOTS)]
    for process in start.waiting[:3]:
        process.send_signal(signal.SIGTERM)
    outputs = [process.communicate()[0] for process in start.waiting]

    assert [process.returncode for process in start.waiting] == [0] * 8, outputs
    assert [output for output in outputs if "locked" in output or "Traceback" in output] == []
    os.set_blocking(told, False)
    traces += [line.split() for line in _rest(told).decode().splitlines()]
    os.close(told)
    # An hour may have begun meanwhile: then some of the next slots are among them, each of them once as well.
    assert set(Counter(key for _, key, _ in traces).values()) == {1}
    assert len({token for _, _, token in traces}) == len(traces)
    slots = site.sql(
        "SELECT e.name, COUNT(r.id), MIN(r.verdict), MAX(r.tries) FROM crons_entry e "
        "LEFT JOIN crons_run r ON r.entry_id = e.id AND r.slot_at = (SELECT MIN(slot_at) FROM crons_run) "
        "WHERE e.name LIKE %s GROUP BY e.name",
        "traced_%",
    )
    assert Counter(row[1:] for row in slots) == {(1, "succeeded", 1): SLOTS}
    [(attempts, runs)] = site.sql("SELECT COUNT(*), COUNT(DISTINCT run_id) FROM crons_attempt")
    assert attempts == runs >= SLOTS
    assert site.sql("SELECT COUNT(*) FROM crons_range") == [(0,)]


def test_fifty_racers_for_one_slot_have_one_winner(site: Site) -> None:
    """The entry's row decides who records, the run's who begins; neither is a matter of timing."""
    site.make_due("plain")

    done = site.python("-m", "tests.acceptance.racers", str(RACERS), "plain")

    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    assert len(told) == RACERS
    assert Counter(recorded for recorded, *_ in told) == {"0": RACERS - 1, "1": 1}
    assert Counter(begun for _, begun, *_ in told) == {"0": RACERS - 1, "1": 1}
    # Who asks for the run by its name waits for whoever holds it: it must never report "waits for its turn".
    assert {state for *_, state, trigger in told if trigger == "name"} == {"running"}
    assert site.sql("SELECT COUNT(*) FROM crons_run") == [(1,)]
    assert site.sql("SELECT COUNT(*) FROM crons_attempt") == [(1,)]


def test_fifty_racers_for_many_slots_of_one_entry_begin_one(site: Site) -> None:
    """Each may choose another run of the entry: the active key must decide without anybody failing over it."""
    site.make_due("each_second")

    done = site.python("-m", "tests.acceptance.racers", str(RACERS), "each_second")

    assert done.returncode == 0, done.stderr
    assert Counter(line.split()[1] for line in done.stdout.splitlines()) == {"0": RACERS - 1, "1": 1}
    assert site.sql("SELECT COUNT(*) FROM crons_attempt") == [(1,)]


def _rest(told: int) -> bytes:
    try:
        return os.read(told, 65_536)
    except BlockingIOError:
        return b""
