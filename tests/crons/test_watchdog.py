"""The watchdog: one look from another machine, told when it changes, at a server that misbehaves in every way."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crons import watchdog

TOKEN = "correct-horse-battery-staple-0123456789"
WELL = (200, {"status": "well", "problems": []}, {})
FAILING = {"kind": "failing", "entry": "nightly", "text": "ValueError: no\x1b[2J\u202ehcus", "since": None}
UNWELL = (503, {"status": "unwell", "problems": [FAILING]}, {})
Answer = tuple[int, Any, dict[str, str]]


class Site:
    """A site that answers as it is told; *seen* are the headers of each request."""

    def __init__(self) -> None:
        self.answer: Answer | Callable[[http.server.BaseHTTPRequestHandler], None] = WELL
        self.seen: list[Any] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.seen.append(self.headers)
                if callable(site.answer):
                    site.answer(self)
                    return
                status, told, headers = site.answer
                body = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Write nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/crons/health"


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def look(site: Site, tmp_path: Path, capsys, monkeypatch) -> Callable[..., tuple[int, str]]:
    """Look once, *seconds* after the first look; return the exit code and what a person reads."""

    def looked(*arguments: str, seconds: float = 0) -> tuple[int, str]:
        monkeypatch.setattr(watchdog.time, "time", lambda: 1_800_000_000.0 + seconds)
        code = watchdog.main([site.url, "--state", str(tmp_path / "state.json"), *arguments])
        told = capsys.readouterr()
        return code, (told.out + told.err).replace(site.url, "URL")

    return looked


def test_a_site_that_is_well_is_not_spoken_of(look) -> None:
    assert look() == (0, "")
    assert look() == (0, "")


def test_it_tells_at_the_second_bad_look_each_hour_and_when_it_is_over(look, site: Site) -> None:
    site.answer = UNWELL
    told = "URL answers 503:\n  failing: nightly: ValueError: no [2J hcus\nsince 2027-01-15 08:00:00 UTC\n"

    assert look() == (1, "")
    assert look(seconds=60) == (1, told)
    assert look(seconds=120) == (1, "")
    assert look(seconds=60 + 3599) == (1, "")
    assert look(seconds=60 + 3600) == (1, told)
    site.answer = WELL
    assert look(seconds=7200) == (0, "URL is well again, after 2 h 0 min\n")
    assert look(seconds=7260) == (0, "")


def test_a_blip_is_told_neither_when_it_comes_nor_when_it_goes(look, site: Site) -> None:
    site.answer = UNWELL
    assert look() == (1, "")
    site.answer = WELL
    assert look(seconds=60) == (0, "")
    site.answer = UNWELL
    assert look(seconds=120) == (1, ""), "one look is not two in a row"


def test_a_clock_that_is_set_back_does_not_silence_it(look, site: Site) -> None:
    site.answer = UNWELL
    look("--looks", "1")

    assert "failing: nightly" in look("--looks", "1", seconds=-86_400)[1]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            (503, {"status": "unknown", "error": "the database did not answer"}, {}),
            "answers 503: the database did not answer",
        ),
        ((401, {"error": "Expected the header"}, {}), "answers 401: Expected the header"),
        ((404, b"<h1>Not Found</h1>", {}), "answers 404, but not as crons does: is this the address of /crons/health?"),
        ((200, b"<h1>Welcome to nginx!</h1>", {}), "answers 200, but not as crons does"),
        ((200, b"[]", {}), "answers 200, but not as crons does"),
        ((200, b"[" * 100_000, {}), "answers 200, but not as crons does"),
        ((200, {"status": "parked"}, {}), "answers 200 with the status parked"),
        (
            (302, b"", {"Location": "http://127.0.0.1:1/stolen"}),
            "answers 302 and names http://127.0.0.1:1/stolen: nothing is followed",
        ),
        ((503, {"problems": [7, {}, FAILING]}, {}), "failing: nightly"),
        ((503, {"problems": [FAILING] * 30}, {}), "and 10 more"),
        ((503, {"problems": [{"text": "x" * 10_000}]}, {}), "x" * 300 + "…"),
    ],
)
def test_whatever_it_answers_is_said(look, site: Site, answer: Answer, told: str) -> None:
    site.answer = answer

    code, said = look("--looks", "1")

    assert code == 1
    assert told in said
    assert len(said) < 8_000


def test_an_answer_that_ends_in_the_middle_is_trouble(look, site: Site) -> None:
    def cut_off(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "5000")
        request.end_headers()
        request.wfile.write(b'{"status": "well"')

    site.answer = cut_off

    assert look("--looks", "1")[0] == 1


def test_what_is_no_http_is_trouble(look, site: Site) -> None:
    site.answer = lambda request: request.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") and None  # type: ignore[assignment]

    code, said = look("--looks", "1")

    assert code == 1
    assert "gave no answer" in said


def test_a_server_that_writes_a_byte_now_and_then_does_not_hold_it_up(look, site: Site) -> None:
    may_end = threading.Event()

    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "5000")
        request.end_headers()
        try:
            while not may_end.wait(0.05):
                request.wfile.write(b" ")
                request.wfile.flush()
        except OSError:
            pass  # it hung up

    site.answer = drip
    try:
        assert look("--looks", "1", "--timeout", "1") == (
            1, "URL gave no whole answer within 1 s\nsince 2027-01-15 08:00:00 UTC\n"
        )  # fmt: skip
    finally:
        may_end.set()


def test_a_site_that_is_gone_is_trouble(look, site: Site) -> None:
    site.server.shutdown()
    site.server.server_close()

    assert "Connection refused" in look("--looks", "1")[1]


def test_the_token_goes_to_the_site_and_nowhere_else(look, site: Site, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with_token = ("--token-file", str(tmp_path / "token"), "--looks", "1")
    assert look(*with_token) == (0, "")
    assert site.seen[-1]["Authorization"] == f"Bearer {TOKEN}"

    site.answer = (302, b"", {"Location": site.url})
    assert TOKEN not in look(*with_token)[1]
    assert len(site.seen) == 2


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://shop.example.com/crons/health", "the token would go to shop.example.com unencrypted"),
        ("shop.example.com/crons/health", "is no address to look at"),
        ("file:///etc/passwd", "is no address to look at"),
        ("https://", "is no address to look at"),
        ("http://[::1/", "is no address"),
        ("https://shop.example.com/a b", "is no address to look at"),
    ],
)
def test_what_cannot_be_looked_at_is_2(url: str, told: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "token").write_text(TOKEN)

    assert watchdog.main([url, "--token-file", str(tmp_path / "token"), "--state", str(tmp_path / "state")]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read"), ("\n", "holds no token"), ("ключ", "holds no token")]
)
def test_a_token_that_cannot_be_had_is_2(look, tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)

    code, said = look("--token-file", str(path))

    assert code == 2
    assert told in said


def test_two_at_once_do_not_both_tell(look, site: Site, tmp_path: Path) -> None:
    with watchdog._state_of(tmp_path / "state.json"):
        code, said = look()

    assert code == 2
    assert "another look" in said
    assert not site.seen


@pytest.mark.parametrize(
    "left", ["", "{", "[]", '{"looks": "many", "since": "x", "told_at": []}', '{"looks": -3, "since": 1e300}']
)
def test_a_state_that_cannot_be_read_is_a_first_look(look, site: Site, tmp_path: Path, left: str) -> None:
    (tmp_path / "state.json").write_text(left)
    site.answer = UNWELL

    assert look() == (1, "")
    assert look(seconds=60)[1].endswith("since 2027-01-15 08:00:00 UTC\n")


def test_a_full_disk_is_said(look, monkeypatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watchdog.json, "dump", full)

    code, said = look()

    assert code == 2
    assert "No space left on device" in said


def test_a_program_gets_the_text_and_one_that_fails_gets_it_again(look, site: Site, tmp_path: Path) -> None:
    site.answer = UNWELL
    kept = tmp_path / "told"

    code, said = look("--looks", "1", "--run", "false")
    assert code == 2
    assert "--run 'false' did not take the text" in said
    code, said = look("--looks", "1", "--run", f"tee {kept}", seconds=60)

    assert code == 1
    assert "failing: nightly" in kept.read_text()


def test_the_file_alone_runs_without_django(site: Site, tmp_path: Path) -> None:
    alone = tmp_path / "watchdog.py"
    alone.write_text(Path(watchdog.__file__).read_text())
    site.answer = UNWELL

    command = [sys.executable, "-I", "-S", str(alone), site.url, "--state", str(tmp_path / "state"), "--looks", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (1, "")
    assert "failing: nightly" in ended.stdout
