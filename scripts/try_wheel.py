"""Do in a blank project what the README's first five minutes say, with a wheel: try_wheel.py WHEEL DJANGO PYTHON.

Ends 1 with one line that says which command did what, when one of them does not end as the README shows.
"""

import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_README = Path(__file__).resolve().parent.parent / "README.md"
_PATIENCE_SECONDS = 60
# What a newcomer's machine would not have: settings of whoever calls this.
_OURS = ("DJANGO_", "CRM_", "CRONS_", "DATABASE_URL", "PYTHONPATH", "VIRTUAL_ENV")
_BROUGHT_BY_DJANGO = {"asgiref", "sqlparse", "django"}
# What a command's output must hold, by its beginning; the rest of it names moments and machines.
_EXPECTED = {
    "crons sync": "created  count_stock\n",
    "crons list": "\ncount_stock  Every 2 seconds (every 2s) ",
    "crons next": " count_stock\n",
    "crons history": "  count_stock  succeeded ",
    "crons show": "  verdict   succeeded\n",
    "crons log": "12 products, all there\n",
    "crons health": "Nothing is wrong.\n",
    "crons tick": " slot(s) recorded, ",
}


class Wrong(Exception):
    """Something did not end as the README shows."""


def main(wheel: str, django: str, python: str) -> int:
    """Make the project, run the README's commands; end 1 at the first that goes wrong."""
    with tempfile.TemporaryDirectory(prefix="crons-release-") as place:
        try:
            newcomer = Newcomer(Path(place), python)
            newcomer.install(Path(wheel).resolve(), django)
            newcomer.follow(_README.read_text(encoding="utf-8"))
        except Wrong as wrong:
            print(wrong)
            return 1
    return 0


class Newcomer:
    """Somebody with an empty folder, a fresh virtual environment and the README."""

    def __init__(self, place: Path, python: str) -> None:
        self._folder = place / "project"
        self._folder.mkdir()
        self._python = place / "venv" / "bin" / "python"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        # This script's own pip installs: making one for each environment takes longer than all else.
        self._run([python, "-m", "venv", "--without-pip", str(place / "venv")])

    def install(self, wheel: Path, django: str) -> None:
        """Install *wheel* beside that Django; it must bring nothing else along."""
        pip = [sys.executable, "-m", "pip", "--python", str(self._python), "--disable-pip-version-check"]
        self._run([*pip, "install", "--quiet", str(wheel), f"Django~={django}.0"])
        listed = json.loads(self._run([*pip, "list", "--format=json"]).stdout)
        installed = {each["name"].lower() for each in listed}
        if installed != {"django-crons", *_BROUGHT_BY_DJANGO}:
            raise Wrong(f"The wheel brought along more than Django and what that needs: {sorted(installed)}.")

    def follow(self, readme: str) -> None:
        """Start a project, write the README's job into it, and type the README's commands in their order."""
        self._run([str(self._python), "-m", "django", "startproject", "mysite", "."])
        settings = self._folder / "mysite" / "settings.py"
        settings.write_text(settings.read_text().replace("INSTALLED_APPS = [", 'INSTALLED_APPS = [\n    "crons",'))
        (self._folder / "mysite" / "cron.py").write_text(example(readme))
        scheduler = None
        try:
            for command in commands(readme):
                if command == "crons serve":
                    scheduler = self._serve()
                    continue
                if command == "crons tick" and scheduler:
                    self._stop(scheduler)
                    time.sleep(3)  # "wait a while": a slot, each 2 seconds, falls due that nobody looks at
                self._manage(command)
        finally:
            if scheduler:
                scheduler.kill()
                scheduler.communicate()

    def _manage(self, command: str) -> None:
        done = self._run([str(self._python), "manage.py", *shlex.split(command)])
        output = done.stdout + done.stderr
        wanted = _EXPECTED.get(" ".join(command.split()[:2]), "")
        if wanted not in output:
            raise Wrong(f"`manage.py {command}` should have printed {wanted!r}, and printed:\n{output}")

    def _serve(self) -> "subprocess.Popen[str]":
        """Start the scheduler and wait for the first verdict: the next commands show it."""
        scheduler = subprocess.Popen(
            [self._python, "manage.py", "crons", "serve"], cwd=self._folder, env=self._env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        ended = select.poll()
        ended.register(os.pidfd_open(scheduler.pid), select.POLLIN)
        for _ in range(_PATIENCE_SECONDS):
            history = self._run([str(self._python), "manage.py", "crons", "history", "--json"]).stdout
            if '"succeeded"' in history:
                return scheduler
            if ended.poll(500):
                raise Wrong(f"`manage.py crons serve` ended by itself: {scheduler.communicate()[0]}")
        scheduler.kill()
        raise Wrong(f"`manage.py crons serve` ran no job: {scheduler.communicate()[0]}")

    def _stop(self, scheduler: "subprocess.Popen[str]") -> None:
        scheduler.send_signal(signal.SIGTERM)
        output = scheduler.communicate(timeout=_PATIENCE_SECONDS)[0]
        if scheduler.returncode:
            raise Wrong(f"`manage.py crons serve` ended with {scheduler.returncode} after SIGTERM: {output}")

    def _run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            command, cwd=self._folder, env=self._env, text=True, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=_PATIENCE_SECONDS * 2, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Wrong(f"`{shlex.join(command)}` ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done


def example(readme: str) -> str:
    """Give the five lines of the README that declare a job."""
    found = re.search(r"<!-- runnable: count_stock -->\n```python\n(.*?)```", readme, re.DOTALL)
    if not found:
        raise Wrong("README.md has no example marked <!-- runnable: count_stock --> any more.")
    return found[1]


def commands(readme: str) -> list[str]:
    """List what the README types after `python manage.py`, in its order."""
    found: list[str] = re.findall(r"^\$ python manage\.py (.+)$", readme, re.MULTILINE)
    missing = [each for each in (*_EXPECTED, "crons serve") if not any(line.startswith(each) for line in found)]
    if missing:
        raise Wrong(f"README.md types no `python manage.py {missing[0]}` any more.")
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
