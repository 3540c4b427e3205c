"""A subscription as server-sent events: GraphQL over SSE in its mode of distinct connections.

`next` with an answer, as often as it changes, `complete` at the end, and a comment where nothing is said for a while.
Source: the protocol of graphql-sse.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import StreamingHttpResponse

from crons.contrib.graphql.live import Full, Watched, Watchers, in_thread

KIND = "text/event-stream"
# Proxies end a connection on which nothing comes for a minute. What may be seen is judged as often, at least.
BEAT_SECONDS = 15.0
_HEADERS = {"Content-Type": KIND, "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class Answer(NamedTuple):
    """An answer as one line of JSON, and what it is of: None where no other will follow."""

    text: str
    watched: Watched | None = None


def streamed(
    first: Answer, ask: Callable[[], Answer], watchers: Watchers, owner: str, *, beat: float = BEAT_SECONDS
) -> StreamingHttpResponse:
    """Respond with *first*, and with what *ask* gives whenever that may be another, until it is the last.

    Args: *ask* is called in a thread; what it raises ends the stream. Needs an ASGI server.
    """
    return StreamingHttpResponse(_events(first, ask, watchers, owner, beat), headers=_HEADERS)


async def _events(
    answer: Answer, ask: Callable[[], Answer], watchers: Watchers, owner: str, beat: float
) -> AsyncIterator[str]:
    # The thread that made the first answer is the request's, which now lasts: its connection need not.
    await sync_to_async(_close)()
    yield _next(answer.text)
    if answer.watched is not None:
        try:
            with watchers.told(answer.watched, owner) as changed:
                while answer.watched is not None:
                    try:
                        await asyncio.wait_for(changed.wait(), beat)
                    except TimeoutError:
                        yield ": nothing new\n\n"
                    changed.clear()
                    said, answer = answer.text, await in_thread(ask)
                    if answer.text != said:
                        yield _next(answer.text)
        except Full as full:
            # Between the look for room and now somebody else has taken it.
            yield _next(json.dumps({"errors": [{"message": str(full), "extensions": {"code": "UNAVAILABLE"}}]}))
    yield "event: complete\ndata:\n\n"


def _next(text: str) -> str:
    return f"event: next\ndata: {text}\n\n"


def _close() -> None:
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close()
