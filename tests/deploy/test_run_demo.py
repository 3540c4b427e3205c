"""The supervisor of `make run`, with stand-ins for the web server and the scheduler."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ports

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
PATIENCE_SECONDS = 120

# Listens, as the web server does; says its pid; ends on the first signal.
WEB = (
    "import os, socket, time; server = socket.create_server(('127.0.0.1', {port})); "
    "print('pid', os.getpid()); time.sleep(600)"
)
CRON = "import os, time; print('pid', os.getpid()); time.sleep(600)"
DEAF = (
    "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('pid', os.getpid()); time.sleep(600)"
)
ASKING = (
    "import os, socket, time; from urllib.parse import urlsplit; url = urlsplit(os.environ['CRM_GRAPHQL_URL']); "
    "socket.create_connection((url.hostname, url.port)); print('asked', url.path); time.sleep(600)"
)
DYING = "print('no table crons_entry'); raise SystemExit(3)"

DRIVER = """
import sys
sys.path.insert(0, {deploy!r})
import run_demo

def stand_in(code):
    return [sys.executable, "-u", "-c", code]

run_demo.LONGEST_PAUSE_SECONDS = 0.1
run_demo.QUICK_DEATH_SECONDS = 1000
run_demo.set_up_command = lambda: stand_in({set_up!r})
run_demo.web_command = lambda port: stand_in({web!r})
run_demo.login = lambda: "as admin, password s3cret"
run_demo.manage = lambda *verbs: stand_in({cron!r} if "serve" in verbs else "print('the jobs')")
sys.exit(run_demo.Demo({port}).run())
"""


class Demo:
    """A supervisor under test; its output is read line by line, which is also how a test waits."""

    def __init__(self, cron: str, set_up: str) -> None:
        self.port = ports.free()
        code = DRIVER.format(
            deploy=str(DEPLOY), set_up=set_up, web=WEB.format(port=self.port), cron=cron, port=self.port
        )
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.seen: list[str] = []

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until a line matches *pattern*; the end of the output fails the test."""
        for line in self.process.stdout or ():
            self.seen.append(line.rstrip())
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"no line matched {pattern!r} in:\n" + "\n".join(self.seen))

    def rest(self) -> str:
        """Read what is left, up to its end."""
        return self.process.communicate(timeout=PATIENCE_SECONDS)[0]


@pytest.fixture
def start() -> Iterator[type[Demo]]:
    started: list[Demo] = []

    def starts(cron: str = CRON, set_up: str = "") -> Demo:
        started.append(Demo(cron, set_up))
        return started[-1]

    yield starts  # type: ignore[misc]
    for demo in started:
        demo.process.kill()
        demo.process.communicate()


def test_says_where_what_and_how_to_stop(start):
    """Who starts it for the first time needs nothing but this output."""
    demo = start()

    demo.wait_for("^the jobs$")
    demo.wait_for(f"Admin +http://127.0.0.1:{demo.port}/admin/$")
    demo.wait_for(f"GraphQL +http://127.0.0.1:{demo.port}/graphql$")
    demo.wait_for("Log in +as admin, password s3cret$")
    demo.wait_for("^Ctrl-C stops both.$")


def test_ctrl_c_stops_all_within_five_seconds_also_a_deaf_child(start):
    """A scheduler that hangs must not keep the terminal."""
    demo = start(DEAF)
    pid = int(demo.wait_for(r"cron \| pid (\d+)")[1])
    demo.wait_for("Ctrl-C stops both")

    demo.process.send_signal(signal.SIGINT)
    demo.rest()

    assert demo.process.returncode == 0
    assert not is_alive(pid)
    # By the clock only where nobody else wants the processor.
    assert patience_of_the_supervisor() < 5


def test_scheduler_starts_when_the_web_server_answers(start):
    """The heartbeat missed since yesterday is caught up at once, and asks the demo's own GraphQL over HTTP."""
    demo = start(ASKING)

    demo.wait_for(r"cron \| asked /graphql$")

    assert not any("cron ended" in line for line in demo.seen)


def test_killed_child_comes_back(start):
    """A scheduler killed by hand is no reason to stop: redundancy is what it shows."""
    demo = start()
    first = int(demo.wait_for(r"cron \| pid (\d+)")[1])

    os.kill(first, signal.SIGKILL)
    demo.wait_for(r"^cron was killed by SIGKILL; starting it again in 0\.1 s\.$")
    second = int(demo.wait_for(r"cron \| pid (\d+)")[1])

    assert second != first


def test_gives_up_on_a_child_that_only_dies(start):
    """A missing table does not appear by waiting; its message must be the last thing seen."""
    demo = start(DYING)

    demo.wait_for(r"^cron ended with 3, 5 times in a row\. Its last lines:$")
    demo.wait_for("^no table crons_entry$")
    demo.rest()

    assert demo.process.returncode == 1


def test_failed_set_up_starts_nothing(start):
    """A web server over half a database would only hide the reason."""
    demo = start(set_up="raise SystemExit('no such table')")

    output = demo.rest()

    assert output == "no such table\nThe set-up failed, for the reason above; nothing was started.\n"
    assert demo.process.returncode == 1


def test_children_end_with_a_killed_supervisor(start):
    """What cannot be told to stop must not run on unseen, holding the port."""
    demo = start()
    pid = int(demo.wait_for(r"web +\| pid (\d+)")[1])
    demo.wait_for("Ctrl-C stops both")

    watch = os.pidfd_open(pid)
    demo.process.kill()

    assert select.select([watch], [], [], PATIENCE_SECONDS)[0] == [watch], "it still runs"


def test_set_up_gives_the_jobs_a_token_once_also_when_two_start(own_database, tmp_path):
    """Without it the first reminder would fail; each start making another would fill the list."""
    path = tmp_path / "jobs_token"
    login = tmp_path / "login"
    env = {
        **own_database.env, "DJANGO_SETTINGS_MODULE": "crm.settings", "CRM_DEBUG": "1", "CRM_TOKEN_FILE": str(path),
        "PAST": "0", "DEMO_LOGIN_FILE": str(login),
    }  # fmt: skip
    own_database.migrate()
    give = [sys.executable, str(DEPLOY.parent / "manage.py"), "service_token", "jobs"]

    at_once = [subprocess.Popen(give, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=PATIENCE_SECONDS)[0].split()[0] for process in at_once)
    text = path.read_text()
    third = subprocess.run(
        [sys.executable, str(DEPLOY / "run_demo.py"), "--set-up"], env=env, capture_output=True, text=True,
        timeout=PATIENCE_SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip

    assert said == ["Issued", "The"]
    assert f"The token of the jobs in {path} is good.\n" in third.stdout, third.stderr
    assert path.read_text() == text
    assert path.stat().st_mode & 0o777 == 0o600
    assert text.strip() not in third.stdout + third.stderr
    name, password = login.read_text().split()
    assert (name, login.stat().st_mode & 0o777) == ("admin", 0o600)
    assert password not in third.stdout + third.stderr


@pytest.mark.parametrize(
    ("port", "line"),
    [
        ("abc", "PORT=abc is no port. Expected a number from 1 to 65535, such as: PORT=8001 make run"),
        ("65536", "PORT=65536 is no port. Expected a number from 1 to 65535, such as: PORT=8001 make run"),
    ],
)
def test_wrong_port_is_one_clear_line(port, line):
    """A traceback would be the first thing somebody sees of this project."""
    assert run_script(port) == (1, f"{line}\n")


def test_busy_port_is_one_clear_line():
    """Two demos at once are the likeliest mistake."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]

        assert run_script(str(port)) == (
            1,
            f"Port {port} is in use. Stop what uses it, or: PORT=8000 make run\n",
        )


def run_script(port: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "run_demo.py")], env={**os.environ, "PORT": port},
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def patience_of_the_supervisor() -> float:
    code = f"import sys; sys.path.insert(0, {str(DEPLOY)!r}); import run_demo; print(run_demo.KILL_AFTER_SECONDS)"
    return float(subprocess.check_output([sys.executable, "-c", code], text=True))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
