"""What an attempt writes, on its way to the ledger: decoded, redacted, bounded, cut into chunks."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from crons.attempts import Chunk
from crons.redaction import Redaction
from crons.verdicts import Ending

CHUNK_CHARACTERS = 65_536
_SMALL_BYTES = 4_096
_NO_NUL = {0: "\N{REPLACEMENT CHARACTER}"}


def storable(text: str) -> str:
    """Return *text* without what a database refuses: NUL, and halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode().translate(_NO_NUL)


def without_secrets(ending: Ending, redaction: Redaction) -> Ending:
    """Return *ending* with an error that may be stored."""
    return replace(ending, error=storable(redaction.hide(ending.error)))


class Output:
    """The output of one attempt. Of *limit_bytes*, two thirds are kept from its start, a third from its end.

    Nothing is ever cut inside a character, and no secret is let through in two halves.
    """

    def __init__(self, attempt: int, limit_bytes: int, redaction: Redaction) -> None:
        self._attempt = attempt
        self._redaction = redaction
        self._room = limit_bytes * 2 // 3
        self._tail = _TailBuffer(limit_bytes - self._room)
        self._decoders: dict[str, _Decoder] = {}
        self._ready: list[tuple[str, str]] = []
        self._seq = 0

    def feed(self, stream: str, data: bytes) -> None:
        """Take in what was read from *stream*."""
        if self._room:
            first, data = data[: self._room], data[self._room :]
            self._room -= len(first)
            self._add(stream, self._decoder_of(stream).write(first))
        if data:
            self._tail.add(stream, data)

    def end(self) -> None:
        """No more comes: the marker and the tail become ready."""
        left_out = dict(self._tail.left_out)
        for stream in left_out:
            before, self._decoders[stream] = self._decoders.get(stream), _Decoder(self._redaction, after_gap=True)
            left_out[stream] += before.dropped_bytes() if before is not None else 0
        kept = [(stream, self._decoder_of(stream).write(data)) for stream, data in self._tail.pieces]
        kept += [(stream, decoder.close()) for stream, decoder in self._decoders.items()]
        for stream, count in left_out.items():
            self._add(stream, f"\n… {count + self._decoders[stream].skipped_bytes:,} bytes left out …\n")
        for stream, text in kept:
            self._add(stream, text)
        self._decoders, self._tail = {}, _TailBuffer(0)

    def take(self) -> list[Chunk]:
        """Return what is ready to be written down, each piece once."""
        if not self._ready:
            return []
        chunks = []
        for stream, text in self._joined():
            for start in range(0, len(text), CHUNK_CHARACTERS):
                chunks.append(Chunk(self._attempt, self._seq, stream, text[start : start + CHUNK_CHARACTERS]))
                self._seq += 1
        self._ready = []
        return chunks

    def _decoder_of(self, stream: str) -> _Decoder:
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = _Decoder(self._redaction)
        return decoder

    def _add(self, stream: str, text: str) -> None:
        if text:
            self._ready.append((stream, text))

    def _joined(self) -> Iterator[tuple[str, str]]:
        stream, parts = self._ready[0][0], list[str]()
        for each, text in self._ready:
            if each != stream:
                yield stream, "".join(parts)
                stream, parts = each, []
            parts.append(text)
        yield stream, "".join(parts)


class _Decoder:
    """Turns the bytes of one stream into texts; *after_gap*: its first bytes follow some that are lost."""

    def __init__(self, redaction: Redaction, *, after_gap: bool = False) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._redaction = redaction
        self._held = ""
        self._after_gap = after_gap
        # The end of a secret that began in the gap would not be recognised.
        self._skip = max(redaction.longest - 1, 0) if after_gap else 0
        self.skipped_bytes = 0

    def write(self, data: bytes, *, final: bool = False) -> str:
        if self._after_gap and data:
            lost = _continuation_bytes(data)
            data = data[lost:]
            self.skipped_bytes += lost
            self._after_gap = False
        text = self._redaction.hide(self._held + self._decoder.decode(data, final).translate(_NO_NUL))
        held = 0 if final else self._redaction.unfinished(text)
        text, self._held = text[: len(text) - held], text[len(text) - held :]
        if self._skip:
            skipped, text = text[: self._skip], text[self._skip :]
            self._skip -= len(skipped)
            self.skipped_bytes += len(skipped.encode())
        return text

    def dropped_bytes(self) -> int:
        """Count what is dropped with this decoder: perhaps the beginning of a secret, that of a character."""
        return len(self._held.encode()) + len(self._decoder.getstate()[0])

    def close(self) -> str:
        return self.write(b"", final=True)


class _TailBuffer:
    """The newest *limit_bytes* of all streams together; *left_out* counts what had to go, by stream."""

    def __init__(self, limit_bytes: int) -> None:
        self.pieces: deque[tuple[str, bytes]] = deque()
        self.left_out: dict[str, int] = {}
        self._limit = limit_bytes
        self._size = 0

    def add(self, stream: str, data: bytes) -> None:
        self._size += len(data)
        if self.pieces and self.pieces[-1][0] == stream and len(self.pieces[-1][1]) < _SMALL_BYTES:
            data = self.pieces.pop()[1] + data
        self.pieces.append((stream, data))
        while self._size > self._limit:
            self._drop(self._size - self._limit)

    def _drop(self, surplus: int) -> None:
        stream, oldest = self.pieces.popleft()
        gone = min(surplus, len(oldest))
        if gone < len(oldest):
            self.pieces.appendleft((stream, oldest[gone:]))
        self.left_out[stream] = self.left_out.get(stream, 0) + gone
        self._size -= gone


def _continuation_bytes(data: bytes) -> int:
    """Count the bytes at the start that belong to a character whose first byte is lost."""
    return next((at for at, byte in enumerate(data[:3]) if byte & 0xC0 != 0x80), min(len(data), 3))
