"""Which of GraphQL over HTTP's two media types an answer has, and what that means for its status.

`application/json` is what clients of all ages read: a document that is refused is answered with 200, for a client that
sees another status may take the answer for a proxy's. `application/graphql-response+json` says by itself that the body
is GraphQL's, so there the status says what happened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
STREAM = "text/event-stream"
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_MOST_RANGES = 20


def negotiate(accept: str | None) -> str | None:
    """Give the media type for a client with this Accept header; None where it takes neither.

    Of two that are wanted equally, GraphQL's own; where neither is named, as in `*/*`, JSON.
    """
    if accept is None or not accept.strip():
        return JSON
    ranges = list(_ranges(accept))
    graphql, is_named = _weight(GRAPHQL, ranges)
    json, _ = _weight(JSON, ranges)
    if not graphql and not json:
        return None
    return GRAPHQL if graphql > json or (is_named and graphql == json) else JSON


def wants_stream(accept: str | None) -> bool:
    """Say whether a client with this Accept header names server-sent events, as who subscribes does."""
    weight, is_named = _weight(STREAM, list(_ranges(accept or "")))
    return is_named and weight > 0


def _weight(kind: str, ranges: list[tuple[str, float]]) -> tuple[float, bool]:
    """Give how much *kind* is wanted, and whether it is named; the narrowest range counts, as RFC 9110 has it."""
    for name in (kind, "application/*", "*/*"):
        if found := [quality for each, quality in ranges if each == name]:
            return max(found), name == kind
    return 0.0, False


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for each in accept.split(",")[:_MOST_RANGES]:
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        given = dict(parameter.partition("=")[::2] for parameter in parameters)
        quality = given.get("q", "1")
        if given.get("charset", "utf-8").strip('"') == "utf-8":
            yield name, float(quality) if _QUALITY.fullmatch(quality) else 0.0
