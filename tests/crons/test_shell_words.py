"""Which programs a crontab line starts: a job's name among its other words is nobody's call."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crons.jobs import command, job
from crons.schedules import cron
from crons.sources.crontab_files import CrontabFilesSource, job_of
from crons.sources.shell_words import programs

NAMES = ("heartbeat", "backup", "root", "cp", "manage", "clean", "run", "crons", "log", "python")


@pytest.fixture(autouse=True)
def declared(empty_registry):
    """Jobs with names that lines are full of."""
    for name in NAMES:
        job(cron("0 2 * * *"), name=name)(lambda: None)


@pytest.mark.parametrize(
    "line",
    [
        "/usr/bin/true >> /var/log/heartbeat.log 2>&1",
        "cp backup.sql /mnt/backup.sql",
        "cp /srv/backup.sh /srv/clean.sh /mnt",
        "root run-parts /etc/cron.daily",
        "test -x /srv/clean.sh",
        "echo clean.sh",
        "echo 'a; ./clean.sh'",
        'echo "a && ./clean.sh"',
        "echo a \\; ./clean.sh",
        "echo a # ; ./clean.sh",
        "mail -s backup ops < /srv/backup",
        "cat > ./clean.sh",
        "cat 2>./clean.sh",
        "cat &>./clean.sh",
        "python -c clean.py",
        "python -m clean.run",
        "python other.py clean.py",
        "sh other.sh -c ./clean.sh",
        "perl -e clean.pl",
        "cd /srv/clean",
        "cd /srv/backup.d && /usr/bin/true",
        "tar czf /mnt/clean.tgz ./clean.sh",
        "python manage.py clearsessions --settings=clean",
        "python manage.py migrate backup",
        "python manage.py crons tick clean",
        "python manage.py crons show run clean",
        "echo python manage.py clean",
        "cp manage.py clean",
        "clean",
        "FILE=./clean.sh true",
        "timeout 60 true ./clean.sh",
        "docker ps clean.sh",
        "docker compose up clean.sh",
        "uv sync ./clean.sh",
        "cat % ./clean.sh",
        "date +\\%F ./clean.sh",
        "for each in ./clean.sh; do true; done",
        "find /srv -name clean.sh -delete",
        "curl https://x/heartbeat.sh",
        "",
        "'unclosed ./clean.sh",
    ],
)
def test_word_that_only_looks_like_a_jobs_name_binds_nothing(line):
    """Before: each word was looked at, so that a log file bound a line to a job."""
    assert job_of(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "/srv/clean.sh",
        "./clean",
        "clean.sh",
        "~/bin/clean.sh --fast",
        '"$HOME/my bin/clean.sh" >> /var/log/x.log 2>&1',
        "cd /srv/app && .venv/bin/python cron_jobs/clean.py",
        "cd /srv/app; ./clean.sh",
        "test -x /srv/clean.sh && /srv/clean.sh",
        "LANG=C PYTHONPATH=/srv /srv/clean.sh",
        "/srv/app/manage.py clean --verbosity 0",
        "python3.12 -u -W ignore manage.py clean",
        "django-admin clean --settings=x",
        "python -m django clean",
        "python manage.py crons run clean --scheduled",
        "python manage.py crons --no-color run --scheduled clean",
        "python manage.py crons run --scheduled --wait clean >> run.log",
        "nice -n 19 ionice -c3 /srv/clean.sh",
        "timeout -k 5 60 flock -n /tmp/backup.lock /srv/clean.sh",
        "flock -n /tmp/backup.lock -c '/srv/clean.sh >> /tmp/backup.log'",
        "sudo -u backup -H /srv/clean.sh",
        "su - backup -c 'cd /srv && ./clean.sh'",
        "su backup -c ./clean.sh",
        "runuser -u backup -- ./clean.sh",
        "bash -lc 'source x/bin/activate && python manage.py clean'",
        "sh -e ./clean.sh",
        "bash -euo pipefail ./clean.sh",
        "env -i PATH=/bin ./clean.sh",
        "/usr/bin/env python3 ./clean.py",
        "uv run --env-file .env python manage.py clean",
        "poetry run python manage.py clean",
        "docker exec -u www-data web python manage.py clean",
        "docker compose -f prod.yml exec -T web ./manage.py clean",
        "docker-compose run --rm web python manage.py clean",
        "{ ./clean.sh; } 2>&1 | logger -t backup",
        "if true; then ./clean.sh; fi",
        "(cd /srv && ./clean.sh)",
        "while ! ./clean.sh; do sleep 1; done",
        "export A=1 && ./clean.sh",
        "echo $(./clean.sh)",
        "nohup ./clean.sh &",
        "true &>/dev/null; ./clean.sh",
        "time ./clean.sh",
        "! ./clean.sh",
    ],
)
def test_line_that_calls_the_job_binds_to_it(line):
    """As lines in the field do it: behind a directory, an environment, a lock, another account, a container."""
    assert job_of(line) == "clean"


word = st.one_of(st.sampled_from(NAMES), st.text("abc/.- _é'\"\\", min_size=1, max_size=12))


@given(st.lists(word, max_size=5), st.sampled_from(["cp", "echo", "tar", "rsync", "grep", "mv", "/usr/bin/curl"]))
def test_argument_is_no_program(words, program):
    """Whatever it is called, and however it is quoted."""
    line = shlex.join([program, *words]).replace("%", "\\%")

    assert list(programs(line)) == [[program, *words]]


@given(st.text("ab ./;&|<>(){}'\"\\%$#=-\n\t0129", max_size=40))
def test_no_line_is_too_strange(line):
    """What somebody has in a crontab is read by every process at its start."""
    assert all(words and all(isinstance(each, str) for each in words) for words in programs(line))


@pytest.mark.parametrize(("place", "line"), [("cron.d/shop", "django /srv/clean.sh"), ("x", "root  /srv/clean.sh")])
def test_account_of_a_system_crontab_is_no_program(settings, tmp_path, place, line):
    """Its lines have one field more."""
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"0 2 * * * {line}\n")
    settings.CRONS = {"CRONTAB_FILES": [path]}

    assert [each.entry for each in CrontabFilesSource().read().bindings] == ["clean"]


def test_secret_of_a_line_is_not_in_what_is_said_of_it(settings, tmp_path):
    """A check is printed by every command."""
    path = tmp_path / "crontab.txt"
    path.write_text("0 2 * * * curl -H tk-0123456789 https://ann:tk-0123456789@example.org\n")
    settings.CRONS = {"CRONTAB_FILES": [path]}
    settings.SHOP_API_TOKEN = "tk-0123456789"

    [problem] = CrontabFilesSource().read().problems

    assert problem.text == "crontab.txt:1 calls no declared job: curl -H ******** https://ann:********@example.org"


@pytest.mark.parametrize("name", ["clearsessions", "sessions"])
def test_line_that_calls_a_jobs_command_is_no_door_to_it(settings, tmp_path, name):
    """Before: it was taken for one, though Django's command does its work without the ledger."""
    command("clearsessions", schedule=cron("@daily"), name=name)
    path = tmp_path / "crontab.txt"
    path.write_text("@daily cd /srv && python manage.py clearsessions\n")
    settings.CRONS = {"CRONTAB_FILES": [path]}

    reading = CrontabFilesSource().read()

    [problem] = reading.problems
    assert reading.bindings == ()
    assert (problem.id, problem.text) == (
        "W082",
        f"crontab.txt:1 calls the management command of the job {name} by itself: it does the work past the ledger, "
        "so that it is done twice as soon as something fires the job.",
    )
    assert problem.hint == (
        f"Have the line call manage.py crons run {name} --scheduled; or take it away, where something else fires."
    )
