"""What of a job's output is kept: whole characters, both ends of a flood, no secrets."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from pytest_django.fixtures import Settings

from crons.verdicts import Outcome
from tests.contracts.hosting import Gate, Host
from tests.contracts.selection import all_executors, executors_here, those_that


@all_executors
def test_output_and_log_keep_their_stream_and_order(host: Host) -> None:
    attempt = host.start("writes_everywhere")

    host.ending(attempt)
    log = host.text(attempt, "log").splitlines()
    assert host.text(attempt) == "first line\nsecond line\n"
    assert host.text(attempt, "stderr") == "a warning\n"
    assert log[0].endswith(" INFO shop.orders: order 7 sent")
    assert log[1].endswith(" ERROR shop: could not send")
    assert log[2] == "Traceback (most recent call last):"
    assert log[-1] == "ValueError: no such customer"


@executors_here
def test_output_is_written_before_the_ending(host: Host) -> None:
    host.run("says", text="hello")

    assert [type(each[0]).__name__ for each in host.writer.asked] == ["Chunk", "Finished"]


@all_executors
def test_secrets_are_hidden_even_when_written_in_pieces(
    make_host: Callable[[str], Host], settings: Settings, monkeypatch: pytest.MonkeyPatch, alias: str
) -> None:
    settings.PAYMENT_API_KEY = "pk-live-0123456789"
    settings.CRONS = {**getattr(settings, "CRONS", {}), "REDACT": ["mother's maiden name"]}
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgres://shop:correct-horse@db/shop")
    host = make_host(alias)

    attempt = host.start(
        "prints_pieces", pieces=["a pk-live", "-0123456789 b ", "corr", "ect-", "horse c mother's maiden name d pk-"]
    )
    failed = host.run("raises_secret", secret="pk-live-0123456789")

    host.ending(attempt)
    assert host.text(attempt) == "a ******** b ******** c ******** d pk-"
    assert failed.error.endswith("RuntimeError: login with ******** refused\n")


@all_executors
def test_nul_is_replaced(host: Host) -> None:
    """PostgreSQL refuses it, and the ending behind it would never be written."""
    attempt = host.start("prints_pieces", pieces=["a\x00b"])

    host.ending(attempt)
    assert host.text(attempt) == "a\N{REPLACEMENT CHARACTER}b"


@all_executors
def test_a_flood_is_kept_from_both_ends(host: Host) -> None:
    attempt = host.start("floods", blocks=2_000, block_bytes=1_000)

    host.ending(attempt)
    head, left_out, tail = re.split(r"\n… ([\d,]+) bytes left out …\n", host.text(attempt))
    assert head.startswith("the first line\nxxx")
    assert tail.endswith("xxx\nthe last line\n")
    assert len(head) == 666_666
    assert 0 < len(tail) <= 333_334
    assert len(head) + int(left_out.replace(",", "")) + len(tail) == 29 + 2_000 * 1_000


@those_that("keeps_programs_output")
def test_output_of_child_processes_is_captured(host: Host) -> None:
    attempt = host.start("runs_programs")

    host.ending(attempt)
    assert host.text(attempt) == "before\nfrom the child\nafter\n"
    assert host.text(attempt, "stderr") == "its error\n"


@those_that("keeps_programs_output")
def test_output_can_be_read_while_the_job_runs(host: Host, gate: Gate) -> None:
    attempt = host.start("waits_at_gate", gate=gate.path)

    host.until(lambda: host.text(attempt) == "waiting\n")
    assert host.running() == {attempt}
    gate.open()

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED


@those_that("isolates")
def test_characters_are_never_cut(host: Host, gate: Gate) -> None:
    """The euro sign arrives in two reads; a byte that begins nothing is replaced."""
    # Each ends with a new line: no secret begins with one, so that nothing is held back.
    attempt = host.start("writes_in_pieces", pieces=["0ae282", "ac0a", "ff0ae2"], gate=gate.path)
    for seen in ("\n", "\n€\n", "\n€\n\N{REPLACEMENT CHARACTER}\n"):
        host.until(lambda seen=seen: host.text(attempt) == seen)
        gate.open()

    host.ending(attempt)
    assert host.text(attempt) == "\n€\n\N{REPLACEMENT CHARACTER}\n\N{REPLACEMENT CHARACTER}"


@those_that("isolates")
def test_a_hundred_megabytes_are_bounded(host: Host, settings: Settings) -> None:
    attempt = host.start("floods", blocks=100, block_bytes=2**20)

    host.ending(attempt)
    chunks = host.chunks(attempt, "stdout")
    assert sum(len(each.encode()) for each in chunks) <= 1_000_000 + 100
    assert max(len(each) for each in chunks) <= 65_536
    assert "bytes left out …" in host.text(attempt)
    assert host.text(attempt).endswith("the last line\n")


@those_that("isolates")
def test_what_a_library_in_c_prints_is_kept(host: Host) -> None:
    """It has a buffer of its own, which exit() writes out, and nothing else."""
    attempt = host.start("prints_in_c")

    assert host.ending(attempt).outcome == Outcome.SUCCEEDED
    assert host.text(attempt) == "from a library in C"


@those_that("isolates")
def test_a_failed_job_is_logged_in_its_own_process(host: Host) -> None:
    """What reports errors to a tracker hangs on logging there; the attempt keeps its error without."""
    attempt = host.start("raises_before_a_handler")

    assert host.ending(attempt).error.endswith("LookupError: no customer 42\n")
    said = f"ERROR crons.job {host.begun(attempt).entry} failed: LookupError no customer 42\n"
    assert (host.text(attempt), host.text(attempt, "log")) == (said, "")
