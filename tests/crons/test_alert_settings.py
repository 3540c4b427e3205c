"""CRONS["ALERTS"]: every wrong key and value is named with its place, and no secret with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crons.conf import conf
from crons.exceptions import InvalidSetting

SECRET = "https://hc-ping.example.com/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278"


@pytest.fixture
def read(settings):
    def read(**alerts):
        settings.CRONS = {"ALERTS": alerts}
        return conf.alerts

    return read


def test_without_a_word_admins_are_told_of_everything(read):
    alerts = read()

    assert alerts.route(owner="ann", tags=["x"], severity="critical", rule="failing").to == ("admins",)
    assert (alerts.quiet, alerts.most_per_hour, alerts.pings.of("nightly")) == (None, 20, "")


@pytest.mark.parametrize(
    ("alerts", "problem"),
    [
        ({"ROUTS": []}, "CRONS['ALERTS']['ROUTS'] is unknown. Did you mean 'ROUTES'? Known: BASE_URL, CHANNELS, "),
        ({"BASE_URL": "crm.example.com"}, "CRONS['ALERTS']['BASE_URL'] is 'crm.example.com', expected the address"),
        ({"MOST_PER_HOUR": 0}, "CRONS['ALERTS']['MOST_PER_HOUR'] is 0, expected a whole number of at least 1."),
        ({"MOST_PER_HOUR": True}, "CRONS['ALERTS']['MOST_PER_HOUR'] is True, expected a whole number"),
        ({"CHANNELS": ["mail"]}, "CRONS['ALERTS']['CHANNELS'] is a list, expected a dict of a dict for each channel."),
        ({"CHANNELS": {"chat": SECRET}}, "CRONS['ALERTS']['CHANNELS']['chat'] has no KIND, expected a dict such as "),
        ({"CHANNELS": {"a b": {"KIND": "mail"}}}, "CRONS['ALERTS']['CHANNELS']['a b']: a channel's name is a word"),
        ({"ROUTES": {}}, "CRONS['ALERTS']['ROUTES'] is {}, expected a list of dicts"),
        ({"ROUTES": [{"OWNER": "ann"}]}, "CRONS['ALERTS']['ROUTES'][0] has no TO, expected the names of channels; "),
        (
            {"ROUTES": [{"TO": "admin"}]},
            "CRONS['ALERTS']['ROUTES'][0]['TO'] names the channel 'admin', which is not in "
            "CRONS['ALERTS']['CHANNELS']. Did you mean 'admins'? Known: admins.",
        ),
        (
            {"ROUTES": [{"TO": [], "SEVERITY": "critcal"}]},
            "CRONS['ALERTS']['ROUTES'][0]['SEVERITY'] has 'critcal'. Did you mean 'critical'? Known: info, warning, ",
        ),
        ({"ROUTES": [{"TO": [], "TAGS": "x"}]}, "CRONS['ALERTS']['ROUTES'][0]['TAGS'] is unknown. Did you mean 'TAG'?"),
        ({"ROUTES": [{"TO": [], "TAG": 7}]}, "CRONS['ALERTS']['ROUTES'][0]['TAG'] is 7, expected a text or a list of"),
        (
            {"ROUTES": [{"TO": [], "REPEAT": timedelta(seconds=1)}]},
            "CRONS['ALERTS']['ROUTES'][0]['REPEAT'] is datetime.timedelta(seconds=1), expected a timedelta of at least",
        ),
        ({"QUIET": {"FROM": "22", "UNTIL": "7"}}, "CRONS['ALERTS']['QUIET']['UNTIL'] is '7', expected a time of day"),
        ({"QUIET": {"FROM": "07:00", "UNTIL": "07:00", "ZONE": "UTC"}}, "CRONS['ALERTS']['QUIET']: FROM and UNTIL are"),
        (
            {"QUIET": {"FROM": "22:00", "UNTIL": "07:00", "ZONE": "Europe/Berlni"}},
            "CRONS['ALERTS']['QUIET']['ZONE'] is 'Europe/Berlni', expected a time zone",
        ),
        ({"QUIET": {"FROM": "22:00", "UNTIL": "07:00"}}, "CRONS['ALERTS']['QUIET']['ZONE'] is None, expected a time "),
        ({"PING": SECRET}, "CRONS['ALERTS']['PING'] is a str, expected a dict of DEPLOYMENT, JOBS."),
        ({"PING": {"JOBS": SECRET}}, "CRONS['ALERTS']['PING']['JOBS'] is a str, expected a dict of names"),
        ({"PING": {"DEPLOYMENT": SECRET[8:]}}, "CRONS['ALERTS']['PING']['DEPLOYMENT'] is no address that begins with"),
        ({"PING": {"JOBS": {"nightly": SECRET + "\nHost: x"}}}, "CRONS['ALERTS']['PING']['JOBS']['nightly'] is no add"),
    ],
)
def test_what_is_wrong_is_said_without_secrets(read, alerts, problem):
    with pytest.raises(InvalidSetting) as raised:
        read(**alerts)

    assert str(raised.value).startswith(problem)
    assert "5bf66975" not in str(raised.value)
    assert conf.problems() == [str(raised.value)]


def test_the_first_route_that_fits_decides(read):
    alerts = read(
        CHANNELS={"team": {"KIND": "mail", "TO": "t@example.com"}, "pager": {"KIND": "mail", "TO": "p@example.com"}},
        ROUTES=[
            {"TO": "pager", "SEVERITY": ["critical"], "TAG": ["money", "stock"]},
            {"TO": ["team", "admins"], "OWNER": "ann"},
            {"TO": [], "RULE": "retired"},
        ],
    )

    def to(owner="", tags=(), severity="warning", rule="failing"):
        return alerts.route(owner=owner, tags=tags, severity=severity, rule=rule).to

    assert to("ann", ["stock"], "critical") == ("pager",)
    assert to("ann", ["stock"]) == ("team", "admins")
    assert to(rule="retired") == ()
    assert to("bob") == ("admins",)


@pytest.mark.parametrize(
    ("quiet", "now", "ends"),
    [
        ("22:00-07:00", "2026-03-02T21:59+01:00", None),
        ("22:00-07:00", "2026-03-02T22:00+01:00", "2026-03-03T06:00"),
        ("22:00-07:00", "2026-03-03T06:59+01:00", "2026-03-03T06:00"),
        ("22:00-07:00", "2026-03-03T07:00+01:00", None),
        ("12:00-13:30", "2026-03-03T12:30+01:00", "2026-03-03T12:30"),
        # The night in which clocks are put forward, and the one in which they are put back.
        ("22:00-07:00", "2026-03-28T23:00+01:00", "2026-03-29T05:00"),
        ("22:00-07:00", "2026-10-24T23:00+02:00", "2026-10-25T06:00"),
    ],
)
def test_quiet_ends_by_the_clock_of_its_zone(read, quiet, now, ends):
    start, _, end = quiet.partition("-")
    found = read(QUIET={"FROM": start, "UNTIL": end, "ZONE": "Europe/Berlin"}).quiet

    ended = found.ends_after(datetime.fromisoformat(now).astimezone(UTC))

    assert ended == (datetime.fromisoformat(f"{ends}+00:00") if ends else None)


def test_secrets_do_not_show_in_what_is_read(read, tmp_path):
    """A traceback with local variables, or a debugger, prints these."""
    path = tmp_path / "ping"
    path.write_text(f"{SECRET}/{{name}}\n")
    path.chmod(0o600)

    alerts = read(CHANNELS={"chat": {"KIND": "mail", "TO": SECRET}}, PING={"DEPLOYMENT": SECRET, "JOBS": {"*": path}})

    assert "5bf66975" not in repr(alerts)
    assert alerts.pings.of("nightly") == f"{SECRET}/nightly"
