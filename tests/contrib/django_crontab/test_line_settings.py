"""What django-crontab's settings say around the command of its lines, and what of it holds here."""

import os
import sys

import pytest
from django.core.management import call_command

from crons import api, ledger
from crons.contrib.django_crontab.line_settings import Prefix, beyond_redirections, prefix
from crons.contrib.django_crontab.source import CronjobsSource
from crons.declarations.sync import sync
from crons.jobs import job
from crons.models import OutputChunk
from crons.schedules import every
from tests.crons import cronjobs

pytestmark = pytest.mark.usefixtures("empty_registry")
HERE = "tests.crons.cronjobs"


@pytest.mark.parametrize(
    ("text", "environment", "left"),
    [
        ("", {}, ""),
        (None, {}, ""),
        ("LANG=C.UTF-8", {"LANG": "C.UTF-8"}, ""),
        (""" LANG='C U'  X="a b" PYTHONPATH=/a:/b """, {"LANG": "C U", "X": "a b", "PYTHONPATH": "/a:/b"}, ""),
        ("env A=1", {"A": "1"}, ""),
        ("/usr/bin/env A=1", {"A": "1"}, ""),
        ("export A=1 && export B=2;", {"A": "1", "B": "2"}, ""),
        ("PATH=$PATH:/x A=${PATH}", {"PATH": "/bin:/x", "A": "/bin:/x"}, ""),
        ("A='$PATH' B=\"x $PATH\" C=a\\ b D=", {"A": "$PATH", "B": "x /bin", "C": "a b", "D": ""}, ""),
        ("A=~/x:~/y:b~/z B='~/x' C=~ D=a~", {"A": "/h/x:/h/y:b~/z", "B": "~/x", "C": "/h", "D": "a~"}, ""),
        ("A=$(date +%s) B=1", {}, "A=$(date +%s) B=1"),
        ("A=`date` B=2", {"B": "2"}, "A=`date`"),
        ("A=${X:-y} B=2", {"B": "2"}, "A=${X:-y}"),
        ("cd /srv && A=1", {"A": "1"}, "cd /srv &&"),
        (". /etc/env; A=1", {"A": "1"}, ". /etc/env;"),
        ("A=1 /usr/bin/flock -n /x", {"A": "1"}, "/usr/bin/flock -n /x"),
        ("DJANGO_SETTINGS_MODULE=x A=1", {"A": "1"}, "DJANGO_SETTINGS_MODULE=x"),
    ],
)
def test_prefix_is_read_as_a_shell_reads_it(settings, monkeypatch, text, environment, left):
    """15 of 96 settings in public projects have one; most of them are assignments."""
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.setenv("HOME", "/h")
    settings.CRONTAB_COMMAND_PREFIX = text

    assert prefix() == Prefix(environment, left)


@pytest.mark.parametrize(
    ("suffix", "left"),
    [
        ("", ""),
        (">> /x.log 2>&1", ""),
        (">/dev/null 2>&1", ""),
        (">> '/a b' 2>> \"/c d\"", ""),
        ("&> /x", ""),
        ("# of the shop", ""),
        (">> /x#1 2>&1 # of the shop", ""),
        ("| tee '/x # y'", "| tee '/x # y'"),
        ("2>&1 | logger -t x", "2>&1 | logger -t x"),
        (" || mail ops", "|| mail ops"),
        (">> /x && curl y", ">> /x && curl y"),
        ("> /dev/null &", "> /dev/null &"),
    ],
)
def test_suffix_that_only_redirects_is_not_missed(suffix, left):
    """The ledger keeps the output."""
    assert beyond_redirections(suffix) == left


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_declared", [False, True])
def test_assignments_of_the_prefix_hold_whoever_begins_the_job(settings, empty_registry, is_declared):
    """Before: what serve began ran without its LANG and its keys. A function that @job declares has them, too."""
    if is_declared:
        job(every(minutes=5), name="shows")(cronjobs.shows)
    settings.CRON_CLASSES = []
    settings.CRONJOBS = [("*/5 * * * *", f"{HERE}.shows")]
    settings.CRONS = {"EXECUTORS": {"process": {"BACKEND": "crons.executors.inline.InlineExecutor"}}}
    settings.CRONTAB_COMMAND_PREFIX = "CRONS_TEST_KEY='a b' cd /srv &&"
    sync(ledger.database_now())

    call_command("crons", "run", CronjobsSource().entry_name(settings.CRONJOBS[0]), "--manual")

    assert OutputChunk.objects.get().text == "CRONS_TEST_KEY is a b\n"
    assert "CRONS_TEST_KEY" not in os.environ
    assert api.history(CronjobsSource().entry_name(settings.CRONJOBS[0])).count() == 1


def test_functions_are_imported_from_the_prefix_too(settings, tmp_path, monkeypatch):
    """Before: they were missing wherever cron had not started the process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_the_project.py").write_text("def work(): pass\n")
    settings.CRONTAB_COMMAND_PREFIX = f"PYTHONPATH={tmp_path}"
    settings.CRONJOBS = [("@daily", "beside_the_project.work")]

    [made] = CronjobsSource().read().declarations

    assert made.name == "beside_the_project.work"
    assert sys.path.count(str(tmp_path)) == 1
