"""What is kept of what a job writes, and what is never kept."""

from __future__ import annotations

import pytest

from crons.executors.output import CHUNK_CHARACTERS, Output, storable, without_secrets
from crons.redaction import Redaction
from crons.verdicts import Ending, Outcome

SECRET = "correct-horse-battery"


def written(pieces: list[tuple[str, bytes]], *, limit_bytes: int = 1_000, secrets: tuple[str, ...] = ()) -> str:
    """Write *pieces* and return what is kept, each change of stream marked."""
    output = Output(1, limit_bytes, Redaction(secrets))
    for stream, data in pieces:
        output.feed(stream, data)
    output.end()
    return "".join(f"<{chunk.stream}>{chunk.text}" for chunk in output.take())


def test_a_secret_is_hidden_wherever_it_is_cut() -> None:
    for at in range(1, len(SECRET)):
        first, second = f"a {SECRET[:at]}".encode(), f"{SECRET[at:]} b".encode()

        assert written([("stdout", first), ("stdout", second)], secrets=(SECRET,)) == "<stdout>a ******** b"


def test_a_secret_cut_at_every_byte_is_hidden() -> None:
    pieces = [("stdout", bytes([byte])) for byte in f"a {SECRET} b".encode()]

    assert written(pieces, secrets=(SECRET,)) == "<stdout>a ******** b"


def test_streams_do_not_complete_each_others_secrets() -> None:
    pieces = [("stdout", b"correct-"), ("stderr", b"horse"), ("stdout", b"horse-battery")]

    assert written(pieces, secrets=(SECRET,)) == "<stderr>horse<stdout>********"


def test_only_what_may_be_a_secret_is_held_back() -> None:
    """A secret key of 50 characters must not hide the last 49 that a job wrote."""
    output = Output(1, 1_000, Redaction([SECRET]))

    output.feed("stdout", b"waiting for the correct-")

    assert [chunk.text for chunk in output.take()] == ["waiting for the "]


def test_the_longer_secret_is_hidden_whole() -> None:
    redaction = Redaction(["password", "password-of-ada"])

    assert redaction.hide("password-of-ada password") == "******** ********"


def test_short_values_are_no_secrets() -> None:
    assert Redaction(["test", "1234567"]).hide("a test of 1234567") == "a test of 1234567"


@pytest.mark.parametrize("offset", range(60))
def test_no_part_of_a_secret_survives_at_a_gap(offset: int) -> None:
    """The gap's edges fall anywhere in the secret; what was cut off would not be recognised."""
    text = ("." * offset + SECRET * 40).encode()

    kept = written([("stdout", text)], limit_bytes=90, secrets=(SECRET,))

    assert "horse" not in kept
    assert "left out" in kept


def test_the_gap_is_marked_in_the_stream_that_lost() -> None:
    pieces = [("stdout", b"a" * 6), ("stdout", b"b" * 10), ("stderr", b"c" * 2)]

    assert written(pieces, limit_bytes=9) == "<stdout>aaaaaa\n… 9 bytes left out …\nb<stderr>cc"


def test_nothing_is_marked_at_the_limit() -> None:
    assert written([("stdout", b"a" * 9)], limit_bytes=9) == "<stdout>aaaaaaaaa"


def test_characters_at_a_gap_are_left_out_whole() -> None:
    kept = written([("stdout", "€".encode() * 100)], limit_bytes=11)

    assert kept == "<stdout>€€\n… 291 bytes left out …\n€"


def test_one_byte_at_a_time_is_kept_whole() -> None:
    kept = written([("stdout", bytes([byte])) for byte in "a€\x00\xff".encode()], limit_bytes=1_000)

    assert kept == "<stdout>a€\N{REPLACEMENT CHARACTER}ÿ"


def test_chunks_are_numbered_and_bounded() -> None:
    output = Output(7, 10_000_000, Redaction([]))
    output.feed("stdout", b"x" * (CHUNK_CHARACTERS + 1))
    output.feed("log", b"y")
    first = output.take()
    output.feed("log", b"z")

    chunks = [*first, *output.take()]

    assert [(each.attempt, each.seq, each.stream, len(each.text)) for each in chunks] == [
        (7, 0, "stdout", CHUNK_CHARACTERS),
        (7, 1, "stdout", 1),
        (7, 2, "log", 1),
        (7, 3, "log", 1),
    ]
    assert output.take() == []


def test_errors_are_storable_and_without_secrets() -> None:
    ending = Ending(Outcome.FAILED, f"\x00 {SECRET} \ud800")

    assert without_secrets(ending, Redaction([SECRET])).error == "\N{REPLACEMENT CHARACTER} ******** ?"
    assert storable("plain") == "plain"
