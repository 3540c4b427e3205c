"""What a job tells an error tracker arrives, though its process ends at once: with the real sentry-sdk."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.acceptance.conftest import Site

Event = dict[str, Any]


@pytest.fixture
def events(site: Site) -> Iterator[list[Event]]:
    """Be Sentry for *site*, and keep the events that come."""
    kept: list[Event] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            items = [json.loads(line) for line in body.splitlines() if line.startswith(b"{")]
            kept.extend(each for each in items if "event_id" in each and "platform" in each)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing of each request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        site.env |= {"TEST_SENTRY_DSN": f"http://key@127.0.0.1:{server.server_port}/1", "NO_PROXY": "127.0.0.1"}
        yield kept
        server.shutdown()
        thread.join()


def test_events_of_a_job_that_returns_at_once_arrive(site: Site, events: list[Event]) -> None:
    """They wait in a thread, which is waited for in atexit: 0 of 3 came when the process just went."""
    site.crons("sync")

    site.crons("run", "reports_three_events")

    assert sorted(event["message"] for event in events) == ["event 0", "event 1", "event 2"]


def test_a_failed_job_is_seen_once(site: Site, events: list[Event]) -> None:
    """By the record of its logger, from the process that has the traceback's variables."""
    done = site.crons("run", "fails", check=False)

    assert done.returncode == 1
    assert [event["logger"] for event in events] == ["crons.job"]
    exception = events[0]["exception"]["values"][-1]
    assert (exception["type"], exception["value"]) == ("RuntimeError", "no luck")
    assert exception["stacktrace"]["frames"][-1]["function"] == "fails"
