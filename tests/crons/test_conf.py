"""Settings: read at use, every mistake in one sentence."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from crons.conf import DEFAULTS, conf
from crons.exceptions import InvalidSetting
from crons.extensions import extensions

# Executors of other systems, as far as their folders are there.
OF_OTHERS = {alias for each in extensions() for alias in each.executors}


def test_every_key_has_a_property(settings):
    """A default that nothing reads would be a lie in the documentation."""
    settings.CRONS = {}

    for key in DEFAULTS:
        assert hasattr(conf, key.lower())
    assert conf.problems() == []


def test_defaults_hold_where_nothing_is_said(settings):
    """An empty CRONS, and none at all, are a complete configuration."""
    del settings.CRONS
    settings.TIME_ZONE = "Europe/Berlin"

    assert conf.enabled is True
    assert conf.database == "default"
    assert conf.time_zone == "Europe/Berlin"
    assert conf.max_running == 4
    assert conf.grace == timedelta(seconds=60)
    assert conf.lease == timedelta(seconds=60)
    assert conf.groups == {}
    assert sorted(conf.executors) == sorted({"inline", "process"} | OF_OTHERS)


def test_settings_are_read_at_use(settings):
    """Tests and tenants change them while the process lives."""
    settings.CRONS = {"MAX_RUNNING": 2}
    first = conf.max_running
    settings.CRONS = {"MAX_RUNNING": 9}

    assert (first, conf.max_running) == (2, 9)


@pytest.mark.parametrize("word", ["0", "false", "no", "off"])
def test_environment_switches_all_off(settings, monkeypatch, word):
    """For a host that must not fire, whatever its settings say."""
    settings.CRONS = {"ENABLED": True}
    monkeypatch.setenv("CRONS_ENABLED", word)

    assert conf.enabled is False


def test_environment_cannot_switch_on_what_settings_switch_off(settings, monkeypatch):
    """Off is off."""
    settings.CRONS = {"ENABLED": False}
    monkeypatch.setenv("CRONS_ENABLED", "1")

    assert conf.enabled is False


def test_own_executors_stand_beside_the_built_in_ones(settings):
    """Who adds one must not have to repeat the others."""
    settings.CRONS = {"EXECUTORS": {"slow": {"BACKEND": "a.B"}}}

    assert sorted(conf.executors) == sorted({"inline", "process", "slow"} | OF_OTHERS)


def test_crontab_files_are_paths(settings):
    """Texts are welcome."""
    settings.CRONS = {"CRONTAB_FILES": ["a/crontab.txt"]}

    assert conf.crontab_files == [Path("a/crontab.txt")]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"MAX_RUNING": 4},
            "CRONS['MAX_RUNING'] is unknown. Did you mean 'MAX_RUNNING'? Known: ALERTS, CRONTAB_FILES, ",
        ),
        ({"Q": 4}, "CRONS['Q'] is unknown. Known: ALERTS, CRONTAB_FILES, "),
        ({"MAX_RUNNING": 0}, "CRONS['MAX_RUNNING'] is 0, expected a whole number of at least 1."),
        ({"MAX_RUNNING": True}, "CRONS['MAX_RUNNING'] is True, expected an int."),
        ({"GRACE": 60}, "CRONS['GRACE'] is 60, expected a timedelta."),
        ({"GRACE": timedelta(0)}, "CRONS['GRACE'] is datetime.timedelta(0), expected a positive timedelta."),
        ({"DATABASE": "nope"}, "CRONS['DATABASE'] is 'nope', expected one of ["),
        ({"GROUPS": {"mail": 0}}, "CRONS['GROUPS']['mail'] is 0, expected a whole number of at least 1."),
        ({"REDACT": "secret"}, "CRONS['REDACT'] is 'secret', expected a list or tuple."),
        ({"LOG_LEVEL": "LOUD"}, "CRONS['LOG_LEVEL'] is 'LOUD', expected a level such as 'INFO'."),
        ({"ENABLED": "no"}, "CRONS['ENABLED'] is 'no', expected a bool."),
    ],
)
def test_mistake_is_named_in_one_sentence(settings, given, problem):
    """It says what came and what was expected."""
    settings.CRONS = given

    (found,) = conf.problems()

    assert found.startswith(problem)


def test_no_dict_is_a_mistake(settings):
    """All else would be told one by one, and wrongly."""
    settings.CRONS = ["ENABLED"]

    assert conf.problems() == ["CRONS is ['ENABLED'], expected a dict."]


def test_all_mistakes_are_told_at_once(settings):
    """Nobody likes to be told them one per start."""
    settings.CRONS = {"LEASE": 3, "RELEASE": 3}

    assert conf.problems() == ["CRONS['LEASE'] is 3, expected a timedelta.", "CRONS['RELEASE'] is 3, expected a str."]


def test_drain_may_be_nothing(settings):
    """To stop at once is a choice."""
    settings.CRONS = {"DRAIN": timedelta(0)}

    assert conf.drain == timedelta(0)


def test_executor_is_made_with_its_alias_and_options(settings):
    """One class may serve under several aliases."""
    settings.CRONS = {"EXECUTORS": {"slow": {"BACKEND": "types.SimpleNamespace", "OPTIONS": {"places": 2}}}}

    made = conf.make_executor("slow")

    assert (made.alias, made.places) == ("slow", 2)


@pytest.mark.parametrize(
    ("alias", "executors", "message"),
    [
        (
            "proces",
            {},
            "executor 'proces' is not in CRONS['EXECUTORS']. Did you mean 'process'? Known: "
            + ", ".join(sorted({"inline", "process"} | OF_OTHERS)),
        ),
        ("x", {"x": {}}, "CRONS['EXECUTORS']['x']: BACKEND cannot be imported: 'BACKEND'."),
        ("x", {"x": {"BACKEND": "no.such"}}, "CRONS['EXECUTORS']['x']: BACKEND cannot be imported: "),
    ],
)
def test_executor_that_cannot_be_made_says_why(settings, alias, executors, message):
    """The alias may be wrong, or what stands behind it."""
    settings.CRONS = {"EXECUTORS": executors}

    with pytest.raises(InvalidSetting, match="^" + re.escape(message)):
        conf.make_executor(alias)
