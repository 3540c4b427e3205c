"""The tick over HTTP, with a real server and the callers of the documents as they stand there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import ports
from tests.acceptance.conftest import PATIENCE_SECONDS, ROOT, Site, wait_for_line

SECRET = "whsec_" + "9f/+" * 11
PAGE = (ROOT / "docs" / "howto" / "http-tick.md").read_text()


@pytest.fixture
def server(site: Site) -> subprocess.Popen[str]:
    """A threaded web server; site.env has what callers need."""
    port = ports.free()
    secret = site.folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(f"{SECRET}\n")
    site.env |= {
        "TEST_TICK_SECRET_FILE": str(secret),
        "TICK_SECRET": SECRET,
        "TICK_SECRET_FILE": str(secret),
        "TICK_URL": f"http://127.0.0.1:{port}/crons/tick",
    }
    started = site.start_python(str(site.manage_py), "runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}")
    wait_for_line(started, "Quit the server")
    return started


def example(language: str, having: str) -> str:
    """Return the block of the page in *language* that has *having* in it."""
    [found] = [each for each in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if having in each]
    return found


def call(site: Site, *command: str) -> dict[str, object]:
    """Run a caller and return the answer that it prints."""
    done = subprocess.run(command, env=site.env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def by_shell(site: Site) -> dict[str, object]:
    """Call as the page's shell lines do."""
    return call(site, "sh", "-euc", example("sh", "openssl dgst"))


DONE = "SELECT 1 FROM crons_run r JOIN crons_entry e ON e.id = r.entry_id WHERE e.name = '{}' AND verdict = 'succeeded'"


def test_the_callers_of_the_page_have_jobs_run(site: Site, server: subprocess.Popen[str]) -> None:
    """Recorded in the request, run by a process that the web server started, which goes on without it."""
    os.mkfifo(site.folder / "gate")
    site.make_due("plain", "waits_for_release")

    first = by_shell(site)
    gate = os.open(site.folder / "gate", os.O_WRONLY)
    site.wait_for_row(DONE.format("plain"), server)
    server.send_signal(signal.SIGINT)
    server.wait(PATIENCE_SECONDS)
    os.close(gate)
    site.wait_until_nothing_runs()

    assert first["recorded"] == 2
    assert re.fullmatch(r"crons tick, started now \(pid \d+\)", str(first["begins"]))
    assert site.verdicts("waits_for_release") == [("succeeded", 1, "succeeded")]
    assert sorted(entry for entry, _, _ in site.traces()) == ["plain", "waits_for_release"]
    assert {trigger for (trigger,) in site.sql("SELECT DISTINCT r.trigger FROM crons_run r")} == {"http"}


def test_the_python_of_the_page_signs_with_the_formats_library(site: Site, server: subprocess.Popen[str]) -> None:
    """It keeps the secret off its command line."""
    site.make_due()

    answer = call(site, sys.executable, "-c", example("python", "standardwebhooks"))

    assert (answer["recorded"], answer["begins"]) == (0, "nothing to begin")


def test_requests_at_the_same_moment_do_each_slot_once(site: Site, server: subprocess.Popen[str]) -> None:
    """Two services that call at the full minute are both answered."""
    site.make_due("plain", "harmless")

    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: by_shell(site), range(4)))
    site.wait_for_row(DONE.format("plain"), server)
    site.wait_for_row(DONE.format("harmless"), server)

    assert sum(int(str(each["recorded"])) for each in answers) == 2
    assert sorted(entry for entry, _, _ in site.traces()) == ["harmless", "plain"]


def test_a_secret_that_is_taken_away_opens_nothing_more(site: Site, server: subprocess.Popen[str]) -> None:
    """At the next request, without a restart; curl ends with an error that somebody sees."""
    Path(site.env["TICK_SECRET_FILE"]).write_text("whsec_" + "0000" * 11)

    shell = ("sh", "-euc", example("sh", "openssl dgst"))
    done = subprocess.run(shell, env=site.env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

    assert done.returncode == 22
    assert json.loads(done.stdout)["error"].startswith("The signature does not match: ")
