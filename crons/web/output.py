"""What an attempt wrote, a page at a time: a megabyte in one page makes a browser slow and a person lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from django.db.models import QuerySet
from django.db.models.functions import Length

from crons.conf import conf
from crons.models import Attempt, OutputChunk
from crons.presentation import readable

PAGE_CHARACTERS = 65_536
TAIL_CHARACTERS = 16_384
# What one search reads; the next page of it reads on.
SEARCHED_CHARACTERS = 4_000_000
MOST_FOUND = 200
# A line that is longer is shown around what was found in it.
AROUND = 200
MOST_CHUNKS = 2_000
# A database reads all of a text to say how long it is: few are asked for first, as chunks of 64 kB are enough then.
ASKED_AT_ONCE = ((0, 8), (8, 80), (80, MOST_CHUNKS))
# Of these a download reads so many at a time.
CHUNKS_AT_ONCE = 20


@dataclass(frozen=True)
class Written:
    """Pieces of output, (stream, text as it was written) each, in order.

    *next_start* is where the next page starts, None at the end; *last* is the number of the last chunk in it.
    """

    raw: list[tuple[str, str]] = field(default_factory=list)
    next_start: int | None = None
    is_cut: bool = False
    last: int = -1

    @property
    def pieces(self) -> list[tuple[str, str]]:
        """The pieces, safe to look at."""
        return [(stream, readable(text)) for stream, text in self.raw]


@dataclass(frozen=True)
class Hit:
    """A line in which a text was found, parted there; *seq* is the chunk in which the line begins."""

    seq: int
    stream: str
    before: str
    found: str
    after: str


@dataclass(frozen=True)
class Found:
    """What a search found; *next_start* is where it was left off, None where all was read."""

    hits: list[Hit]
    next_start: int | None


def page(attempt: Attempt, start: int, characters: int = PAGE_CHARACTERS) -> Written:
    """Read a page of what *attempt* wrote, from the chunk numbered *start* on.

    Cost: two to four statements; of the first ones, only lengths come back.
    """
    texts, following = _read(attempt, start, characters)
    return Written(_joined((stream, text) for _, stream, text in texts), following, last=texts[-1][0] if texts else -1)


def tail(attempt: Attempt) -> Written:
    """Read the end of what *attempt* wrote.

    Cost: two to four statements.
    """
    chunks = _chunks(attempt)
    first, size = None, 0
    for seq, length in _lengths(chunks.order_by("-seq")):
        first, size = seq, size + length
        if size >= TAIL_CHARACTERS:
            break
    if first is None:
        return Written()
    rows = list(chunks.filter(seq__gte=first).order_by("seq").values_list("seq", "stream", "text")[:MOST_CHUNKS])
    texts = [(stream, text) for _, stream, text in rows]
    over = size - TAIL_CHARACTERS
    if over > 0:
        texts[0] = (texts[0][0], texts[0][1][over:])
    return Written(_joined(texts), is_cut=over > 0 or first > 0, last=rows[-1][0])


def search(attempt: Attempt, text: str, start: int = 0) -> Found:
    """Find the lines of what *attempt* wrote that have *text* in them, in capitals or not, from chunk *start* on.

    Cost: two to four statements, and what SEARCHED_CHARACTERS says.
    """
    rows, following = _read(attempt, start, SEARCHED_CHARACTERS)
    hits: list[Hit] = []
    wanted = text.casefold()
    for seq, stream, line in _lines(rows):
        at = line.casefold().find(wanted)
        if at < 0:
            continue
        if len(hits) == MOST_FOUND:
            # That line's chunk is read again, or the next search would pass over what is left of it.
            return Found(hits, seq if seq > hits[0].seq else following)
        end = at + len(text)
        hits.append(Hit(seq, stream, line[max(at - AROUND, 0) : at], line[at:end], line[end : end + AROUND]))
    return Found(hits, following)


def whole(attempt: Attempt) -> Iterator[str]:
    """Yield all that *attempt* wrote, safe to look at in a terminal too, a few chunks at a time."""
    chunks, last = _chunks(attempt).order_by("seq"), -1
    while rows := list(chunks.filter(seq__gt=last).values_list("seq", "text")[:CHUNKS_AT_ONCE]):
        yield readable("".join(text for _, text in rows))
        last = rows[-1][0]


def _chunks(attempt: Attempt) -> QuerySet[OutputChunk]:
    return OutputChunk.objects.using(conf.database).filter(attempt=attempt)


def _lengths(chunks: QuerySet[OutputChunk]) -> Iterator[tuple[int, int]]:
    """Yield number and length of the first MOST_CHUNKS of *chunks*; no more of them are read than are asked for."""
    lengths = chunks.values_list("seq", Length("text"))
    for first, end in ASKED_AT_ONCE:
        rows = list(lengths[first:end])
        yield from rows
        if len(rows) < end - first:
            return


def _read(attempt: Attempt, start: int, characters: int) -> tuple[list[tuple[int, str, str]], int | None]:
    """Read chunks from *start* on, until they have so many *characters*; and say where the next ones start."""
    chunks = _chunks(attempt)
    taken: list[int] = []
    size, following = 0, None
    for seq, length in _lengths(chunks.filter(seq__gte=start).order_by("seq")):
        if taken and size + length > characters:
            following = seq
            break
        taken.append(seq)
        size += length
    else:
        following = taken[-1] + 1 if len(taken) == MOST_CHUNKS else None
    if not taken:
        return [], None
    texts = chunks.filter(seq__gte=taken[0], seq__lte=taken[-1]).order_by("seq").values_list("seq", "stream", "text")
    return list(texts), following


def _lines(rows: Iterable[tuple[int, str, str]]) -> Iterator[tuple[int, str, str]]:
    """Yield the lines, each with the chunk in which it begins; a line may go on in the next chunk of its stream."""
    for stream, pieces in groupby(rows, key=lambda row: row[1]):
        begun, at = "", None
        for seq, _, text in pieces:
            *ended, rest = text.split("\n")
            for line in ended:
                yield (seq if at is None else at), stream, readable(begun + line)
                begun, at = "", None
            begun, at = begun + rest, seq if at is None and rest else at
        if begun:
            yield at or 0, stream, readable(begun)


def _joined(texts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join what follows each other in one stream: an escape sequence may lie across two chunks."""
    streams = groupby(texts, key=lambda piece: piece[0])
    return [(stream, "".join(text for _, text in pieces)) for stream, pieces in streams]
