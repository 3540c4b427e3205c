"""What passes between an executor and the ledger: reports that are repeated, and leases."""

from __future__ import annotations

import os
from collections.abc import Callable

from crons.executors.process import endings
from crons.verdicts import Outcome
from tests.contracts.hosting import Gate, Host, Trail, run_over
from tests.contracts.selection import EXECUTORS, executors_here, processes_here, those_that


@executors_here
def test_a_report_is_repeated_until_the_ledger_answers(host: Host) -> None:
    """Same token, same numbers: what was stored without an answer is not stored twice."""
    host.writer.silent_calls = 3

    attempt = host.start("says", text="hello")
    host.until(lambda: not host.writer.silent_calls)
    assert host.running() == {attempt}
    host.ending(attempt)

    asked = [each[0] for each in host.writer.asked]
    assert host.text(attempt) == "hello\n"
    assert len({str(each) for each in asked}) == 2
    assert host.running() == frozenset()


@executors_here
def test_an_ending_without_output_is_repeated(host: Host) -> None:
    host.writer.silent_calls = 2

    attempt = host.start("noop")
    host.ending(attempt)

    first, *others = [each[0] for each in host.writer.asked]
    assert others == [first, first]


@executors_here
def test_many_attempts_pass_through_few_places(host: Host) -> None:
    started = 0
    while started < 200 or host.running():
        for _ in range(min(host.executor.free(), 200 - started)):
            host.start("noop")
            started += 1
        host.executor.work(host.writer, 5)

    assert {each.ending.outcome for each in host.writer.finished.values()} == {Outcome.SUCCEEDED}
    assert len(host.writer.finished) == 200


@executors_here
def test_working_ends_when_it_is_woken(host: Host) -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"!")

    host.executor.work(host.writer, 10_000, read_fd)

    assert host.writer.asked == []
    os.close(read_fd)
    os.close(write_fd)


@executors_here
def test_closing_twice_is_harmless(host: Host, make_host: Callable[[str], Host], alias: str) -> None:
    other = EXECUTORS[alias](alias=alias)

    other.close()
    other.close()


@those_that("isolates")
def test_leases_are_renewed_while_jobs_run(host: Host, gate: Gate) -> None:
    """Five renewals at a quarter of a lease are more than a lease's time."""
    attempt = host.start("waits_at_gate", gate=gate.path, lease=6)

    host.until(lambda: host.renewals(attempt) >= 5)
    gate.open()

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED


@processes_here
def test_a_lease_that_cannot_be_renewed_ends_the_job(host: Host, trail: Trail) -> None:
    host.writer.renews_nothing = True

    ending, _ = run_over(host, "lease", 4, "ignores_sigterm", trail)

    assert (ending.outcome, ending.error) == (Outcome.LOST, endings.LEASE_ENDED)
    host.silence(trail)


@those_that("leaves_nothing")
def test_an_attempt_that_is_no_longer_ours_is_killed(host: Host, trail: Trail) -> None:
    attempt = host.start("ignores_sigterm", path=trail.path, lease=9)
    host.lines(trail, 1)

    host.disown(attempt)

    assert host.ending(attempt).outcome == Outcome.LOST
    host.silence(trail)


@those_that("cancels")
def test_a_renewal_passes_on_a_cancellation(host: Host, trail: Trail) -> None:
    attempt = host.start("waits", path=trail.path, lease=9)
    host.lines(trail, 1)

    host.ask_to_cancel(attempt, "cancelled by ada")

    ending = host.ending(attempt)
    assert (ending.outcome, ending.error) == (Outcome.CANCELLED, "cancelled by ada")
