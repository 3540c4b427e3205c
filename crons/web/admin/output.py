"""What an attempt wrote, a page at a time: a megabyte in one page makes a browser slow and a person lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from django.db.models.functions import Length

from crons.conf import conf
from crons.models import Attempt, OutputChunk
from crons.presentation import readable

PAGE_CHARACTERS = 65_536
TAIL_CHARACTERS = 16_384
MOST_CHUNKS = 2_000


@dataclass(frozen=True)
class Written:
    """Pieces of output, (stream, text) each, in order; *start* of the next page, None at the end."""

    pieces: list[tuple[str, str]] = field(default_factory=list)
    next_start: int | None = None
    is_cut: bool = False


def page(attempt: Attempt, start: int) -> Written:
    """Read a page of what *attempt* wrote, from the chunk numbered *start* on.

    Cost: two statements; of the first, only lengths come back.
    """
    chunks = OutputChunk.objects.using(conf.database).filter(attempt=attempt)
    lengths = chunks.filter(seq__gte=start).order_by("seq").values_list("seq", Length("text"))[:MOST_CHUNKS]
    taken: list[int] = []
    size, following = 0, None
    for seq, length in lengths:
        if taken and size + length > PAGE_CHARACTERS:
            following = seq
            break
        taken.append(seq)
        size += length
    else:
        following = taken[-1] + 1 if len(taken) == MOST_CHUNKS else None
    if not taken:
        return Written()
    texts = chunks.filter(seq__gte=taken[0], seq__lte=taken[-1]).order_by("seq").values_list("stream", "text")
    return Written(_pieces(texts), following)


def tail(attempt: Attempt) -> Written:
    """Read the end of what *attempt* wrote.

    Cost: two statements.
    """
    chunks = OutputChunk.objects.using(conf.database).filter(attempt=attempt)
    first, size = None, 0
    for seq, length in chunks.order_by("-seq").values_list("seq", Length("text"))[:MOST_CHUNKS]:
        first, size = seq, size + length
        if size >= TAIL_CHARACTERS:
            break
    if first is None:
        return Written()
    texts = list(chunks.filter(seq__gte=first).order_by("seq").values_list("stream", "text"))
    over = size - TAIL_CHARACTERS
    if over > 0:
        texts[0] = (texts[0][0], texts[0][1][over:])
    return Written(_pieces(texts), is_cut=over > 0 or first > 0)


def _pieces(texts: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join what follows each other in one stream: an escape sequence may lie across two chunks."""
    streams = groupby(texts, key=lambda piece: piece[0])
    return [(stream, readable("".join(text for _, text in pieces))) for stream, pieces in streams]
