"""System checks: each id is raised by what it is for, has a hint, and is documented."""

import re
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.core.checks import ERROR, WARNING
from django.core.checks import registry as django_checks

from crons import checks
from crons.checks.asking import declarations_must_be_whole
from crons.conf import conf
from crons.executors.base import Sender
from crons.jobs import command, entry, job, registry, shell
from crons.schedules import NEVER, Schedule, cron, every
from crons.sources.code import FIX
from tests.crons import cronjobs
from tests.crons.checking import INLINE, declared, found, installed, only, registered, told, well

pytestmark = pytest.mark.usefixtures("empty_registry", "well")
HERE = "tests.crons.cronjobs"
ROOT = Path(__file__).parents[2]
OURS = [
    checks.check_settings,
    checks.check_executors,
    checks.check_rights,
    checks.check_routes,
    checks.check_groups,
    checks.check_commands,
    checks.check_programs,
    checks.check_watched,
    checks.check_vendor,
    checks.check_silence,
    checks.check_lease,
    checks.check_zones,
    checks.check_sources,
    checks.check_spelling,
    checks.check_doubles,
    checks.check_elsewhere,
    checks.check_channels,
    checks.check_pings,
]
__all__ = ["declared", "installed", "well"]


def test_nothing_is_said_where_all_is_well(declared):
    """A check that cries wolf is silenced, and then it is gone."""
    assert found() == []


def test_checks_are_registered_with_django():
    """`manage.py check --tag crons` runs them; those of deployment only with --deploy."""
    usual = {check.__name__ for check in registered() if check.__module__.startswith("crons.checks.")}
    deploy = {check.__name__ for check in django_checks.registry.deployment_checks if "crons" in check.tags}

    assert usual == {check.__name__ for check in [*OURS, checks.check_deployment]}
    assert deploy == {"check_deployment", "check_suite"}


def test_settings_that_cannot_work_are_errors(settings):
    """The other checks say nothing of a setting that this one has refused."""
    settings.CRONS = {**INLINE, "GROUPS": {"mail": 0}, "DATABASE": "nope"}

    assert [(message.id, message.msg) for message in found()] == [
        ("crons.E001", f"CRONS['DATABASE'] is 'nope', expected one of {sorted(settings.DATABASES)}."),
        ("crons.E001", "CRONS['GROUPS']['mail'] is 0, expected a whole number of at least 1."),
    ]
    assert found()[0].hint == "CRONS in the settings is one dict; a key that is left out has its default."


def test_defaults_that_are_no_policy_are_an_error(settings, empty_registry):
    """They hold for all jobs, so they are looked at also where there is none yet."""
    empty_registry.defaults = lambda: {"time_out": 5}

    message = only()

    assert message.id == "crons.E001"
    assert message.msg.startswith("CRONS['DEFAULTS']: 'time_out' is no policy. Did you mean 'timeout'? Known: ")


def test_executor_that_cannot_be_imported_is_an_error(settings):
    """Else its first run would find out."""
    settings.CRONS = {"EXECUTORS": {**INLINE["EXECUTORS"], "slow": {"BACKEND": "no.such.Executor"}}}

    told(
        "CRONS['EXECUTORS']['slow'] cannot be imported: ModuleNotFoundError: No module named 'no'.",
        "Give it as {'BACKEND': 'path.to.Class', 'OPTIONS': {…}}.",
    )
    assert only().id == "crons.E002"


@pytest.mark.parametrize("spec", [{}, None])
def test_executor_without_backend_is_an_error(settings, spec):
    """A check must not fall over what it checks."""
    settings.CRONS = {"EXECUTORS": {**INLINE["EXECUTORS"], "slow": spec}}

    assert only().id == "crons.E002"


def test_naive_time_is_an_error(settings):
    """Rows are moments."""
    settings.USE_TZ = False

    told(
        "USE_TZ is False, so moments would be stored without a zone.",
        "Set USE_TZ = True: slots are kept in UTC and shown in each entry's zone.",
    )
    assert only().id == "crons.E003"


@pytest.mark.parametrize(("vendor", "name"), [("mysql", "MySQL"), ("oracle", "Oracle"), ("microsoft", "SQL Server")])
def test_a_database_that_nothing_was_tried_on_is_an_error(monkeypatch, vendor, name):
    """MariaDB once had branches that no test ran: nobody knew whether a slot was recorded once there."""
    connection = type("Connection", (), {"vendor": vendor, "display_name": name})()
    monkeypatch.setattr(checks.site, "connections", {"default": connection})

    told(
        f"DATABASES['default'] is {name}: crons keeps its rows in SQLite or PostgreSQL only.",
        "Add a database of one of these to DATABASES, and name it: CRONS = {'DATABASE': 'crons'}. "
        "The jobs themselves may use any.",
    )
    assert only().id == "crons.E005"


@pytest.mark.parametrize(
    ("options", "off"),
    [
        ({"keepalives": 0}, "keepalives"),
        ({"keepalives": "0", "tcp_user_timeout": 0}, "keepalives and tcp_user_timeout"),
    ],
)
def test_silence_that_nothing_notices_is_a_warning(monkeypatch, options, off):
    """Who switched it off had a reason once; a scheduler pays for it."""
    connection = type("Connection", (), {"vendor": "postgresql", "settings_dict": {"OPTIONS": options}})()
    monkeypatch.setattr(checks.site, "connections", {"default": connection})

    [warning] = checks.site.check_silence(None)

    assert warning.id == "crons.W063"
    assert warning.msg.startswith(f"DATABASES['default']['OPTIONS'] switches {off} off: ")


def test_silence_is_noticed_unless_somebody_says_otherwise(monkeypatch):
    """Nothing to say of the usual settings, nor of SQLite."""
    for vendor, options in (("postgresql", {}), ("postgresql", {"keepalives": 1}), ("sqlite", {"keepalives": 0})):
        connection = type("Connection", (), {"vendor": vendor, "settings_dict": {"OPTIONS": options}})()
        monkeypatch.setattr(checks.site, "connections", {"default": connection})

        assert list(checks.site.check_silence(None)) == []


def test_unknown_zone_of_the_settings_is_an_error(settings):
    """Every entry without a zone of its own would be parked."""
    settings.CRONS = {**INLINE, "TIME_ZONE": "Europe/Berlim"}

    told(
        "CRONS['TIME_ZONE'] names the zone 'Europe/Berlim', which is not in this machine's time zone data.",
        "Did you mean 'Europe/Berlin'? Use a name such as 'Europe/Berlin'; where the system has no zones, "
        "install tzdata.",
    )
    assert only().id == "crons.E004"


def test_unknown_zone_of_an_entry_is_an_error(empty_registry):
    """The machine that declares may know zones that this one does not."""
    job(every(minutes=5), name="heartbeat")(cronjobs.beat)
    schedule = type(NEVER).__new__(type(NEVER))
    for name, value in (("text", ""), ("zone", "Mars/Olympus")):
        object.__setattr__(schedule, name, value)
    assert isinstance(schedule, Schedule)
    entry("on_mars", "heartbeat", schedule)

    message = only()

    assert message.id == "crons.E004"
    assert re.match(rf"on_mars \({re.escape(__name__)}:\d+\) names the zone 'Mars/Olympus', which", message.msg)


def test_a_zone_that_this_machine_lacks_stops_no_scheduler(empty_registry, monkeypatch):
    """Other hosts have it: `sync` must know it, `serve` goes on with all else. The settings' own zone is no such."""
    monkeypatch.setattr("crons.checks.site.ZoneInfo", {"UTC": 1, "Europe/Berlin": 1}.__getitem__)
    job(every(minutes=5, zone="Europe/Kyiv"), name="heartbeat")(cronjobs.beat)

    with declarations_must_be_whole(leaving_zones=True):
        serving = checks.check_zones()
    with declarations_must_be_whole():
        syncing = checks.check_zones()

    assert serving == []
    assert [each.id for each in syncing] == ["crons.E004"]


def test_unknown_executor_of_a_job_is_an_error():
    """Its runs would wait for ever."""
    job(every(minutes=5), name="heartbeat", executor="proces")(cronjobs.beat)

    told(
        f"heartbeat ({HERE}.beat) names the executor 'proces', which is not in CRONS['EXECUTORS'].",
        f"Did you mean 'process'? Known: {', '.join(sorted(conf.executors))}.",
    )
    assert only().id == "crons.E010"


def test_command_that_no_app_has_is_an_error():
    """It would show at the first slot, at night."""
    command("clearsesions", name="tidy", schedule=cron("@daily"))
    command("clearsessions", schedule=cron("@daily"))

    message = only()
    assert message.id == "crons.E012"
    assert re.fullmatch(
        rf"tidy \({re.escape(__name__)}:\d+\) calls the management command 'clearsesions', which no installed app has.",
        message.msg,
    )
    assert message.hint == "Did you mean 'clearsessions'? All of them: manage.py help"


def test_cron_module_that_fails_is_a_warning_but_where_declarations_are_what_the_command_is_for(monkeypatch):
    """Nobody's site or migration waits for a job; `serve`, `sync` and `apply` would go by half of what is declared."""
    monkeypatch.setattr(checks.declarations.registry, "broken", {"stock.cron": "NameError: name 'x' is not defined"})

    told("stock.cron cannot be imported: NameError: name 'x' is not defined.", FIX)
    assert (only().id, only().level) == ("crons.W070", WARNING)

    with declarations_must_be_whole():
        told("stock.cron cannot be imported: NameError: name 'x' is not defined.", FIX)
        assert (only().id, only().level) == ("crons.E015", ERROR)


def test_nobody_reads_the_project_where_checks_were_not_asked_for(monkeypatch):
    """The check "crons.W073" reads each of its modules; what it finds is in acceptance/test_strangers.py."""
    monkeypatch.setattr(checks.elsewhere, "_modules_of_project", pytest.fail)

    assert checks.check_elsewhere() == []


def test_declarations_are_loaded_before_modules_are_compared_with_them(monkeypatch):
    """Django runs checks in no order: asked first, "crons.W073" took every `cron` module for one of few processes."""
    order = []
    monkeypatch.setattr(checks.asking, "is_asked_for", lambda: True)
    monkeypatch.setattr(checks.elsewhere, "is_asked_for", lambda: True)
    monkeypatch.setattr(registry, "load", lambda: order.append("loaded"))
    monkeypatch.setattr(checks.elsewhere, "_modules_of_project", lambda: order.append("compared") or [])

    assert checks.check_elsewhere() == []

    assert order == ["loaded", "compared"]


def _done_twice():
    """Return the names in the warnings of crons.W074, and the moments that they share."""
    pattern = re.compile(r"(\S+) and (\S+) do the same at the same times, next at (\S+ \S+): ")
    messages = [each for each in checks.check_doubles() if each.id == "crons.W074"]
    return [pattern.match(each.msg).groups() for each in messages]


def test_entries_that_do_the_same_at_the_same_times_are_a_warning(settings):
    """Each is well on its own, and customers get two mails."""
    settings.TIME_ZONE = "UTC"
    noon = ZoneInfo("Europe/Berlin")
    settings.CRONS = {**INLINE, "TIME_ZONE": "UTC"}

    def mail():
        pass

    job(cron("0 */2 * * *"), name="a")(mail)
    job(cron("0 0 29 2 *"), name="b")(mail)
    command("clearsessions", name="c", schedule=cron("*/5 * * * *"))
    shell(["/usr/bin/python3", "/srv/shop/manage.py", "clearsessions"], name="d", schedule=cron("30 3 1 * *"))
    shell(["sh", "clean.sh"], name="e", schedule=cron("0 12 * * *", zone=str(noon)))
    shell(["sh", "clean.sh"], name="f", schedule=cron("0 10,11 * * *"))

    pairs = [(first, second) for first, second, _ in _done_twice()]

    assert pairs == [("a", "b"), ("c", "d"), ("e", "f")]


def test_entries_that_do_other_things_or_at_other_times_are_no_warning():
    """A job with two entries is what entry(…) is for, and each closure of a factory is a function of its own."""

    def count(shelf=0):
        pass

    def cleaner(which):
        return lambda: which

    job(cron("0 1 * * *"), name="count")(count)
    entry("count_two", "count", cron("0 1 * * *"), args={"shelf": 2})
    entry("count_later", "count", cron("0 2 * * *"))
    job(name="by_hand")(count)
    for which in "xy":
        job(cron("0 1 * * *"), name=f"clean_{which}")(cleaner(which))
    command("clearsessions", name="c", schedule=cron("@daily"))
    command("clearsessions", "--verbosity=2", name="d", schedule=cron("@daily"))
    shell(["sh", "clean.sh"], name="e", schedule=cron("@daily"), cwd="/")
    shell(["sh", "clean.sh"], name="f", schedule=cron("@daily"), cwd="/tmp")

    assert _done_twice() == []


class Far(Sender):
    """Hands messages to workers on other machines."""

    def send(self, message):
        pass


def test_program_that_this_machine_lacks_is_a_warning(settings, monkeypatch, tmp_path):
    """It would show at the first slot, at night; a warning, because another machine may run it."""
    (tmp_path / "good").touch(mode=0o755)
    (tmp_path / "closed").touch(mode=0o644)
    monkeypatch.setenv("PATH", str(tmp_path))
    programs = {
        "on_path": (["good"], None),
        "absolute": ([f"{tmp_path}/good", "-a"], None),
        "in_cwd": (["./good"], str(tmp_path)),
        "not_on_path": (["rsnyc", "-a"], None),
        "no_file": (["/nowhere/rsync"], None),
        "not_in_cwd": (["./rsync"], str(tmp_path)),
        "a_folder": ([str(tmp_path)], None),
        "not_executable": ([f"{tmp_path}/closed"], None),
        "no_cwd": (["good"], "/nowhere"),
    }
    for name, (program, cwd) in programs.items():
        shell(program, name=name, schedule=cron("@daily"), cwd=cwd)
    shell(["rsnyc"], name="elsewhere", schedule=cron("@daily"), executor="far")
    settings.CRONS = {"EXECUTORS": {**INLINE["EXECUTORS"], "far": {"BACKEND": f"{__name__}.Far"}}}

    messages = found()
    assert [re.sub(r" \(\S+:\d+\) ", " ", message.msg) for message in messages] == [
        f"not_on_path runs 'rsnyc', which is in no directory of PATH here ({tmp_path}).",
        "no_file runs '/nowhere/rsync', which is no file on this machine.",
        "not_in_cwd runs './rsync', which is no file on this machine.",
        f"a_folder runs '{tmp_path}', which is no file on this machine.",
        f"not_executable runs '{tmp_path}/closed', which this account may not execute.",
        "no_cwd runs 'good', in '/nowhere', which is no directory on this machine.",
    ]
    assert {(message.id, message.level) for message in messages} == {("crons.W014", WARNING)}
    assert {message.hint for message in messages} == {
        "Install it, or give its whole path: each of its runs would fail. "
        "If only other machines run it, name crons.W014 in SILENCED_SYSTEM_CHECKS."
    }


def test_group_without_a_limit_is_a_warning(settings):
    """Whoever names a group wants one."""
    settings.CRONS = {**INLINE, "GROUPS": {"mail": 1}}
    job(every(minutes=5), name="heartbeat", group="mial")(cronjobs.beat)

    told(
        f"heartbeat ({HERE}.beat) is in the group 'mial', which has no limit in CRONS['GROUPS'].",
        "Did you mean 'mail'? Known: mail.",
    )
    assert only().id == "crons.W011"


def test_what_would_always_be_told_or_never_is_a_warning():
    """Monday's slot comes three days after Friday's, and a job that is killed after an hour takes no two."""
    working_days = cron("0 8 * * MON-FRI", zone="UTC")
    job(working_days, name="report", max_silence=timedelta(days=3))(cronjobs.beat)
    job(None, name="by_hand", max_silence=timedelta(days=1), expected=timedelta(hours=1))(cronjobs.fail)

    assert [(message.id, message.level) for message in found()] == [("crons.W016", WARNING)] * 2
    assert sorted(message.msg for message in found()) == [
        f"by_hand ({HERE}.fail) has expected=datetime.timedelta(seconds=3600) and "
        "timeout=datetime.timedelta(seconds=3600): it is killed before anybody is told that it takes longer than "
        "expected.",
        f"report ({HERE}.beat) has max_silence=datetime.timedelta(days=3), and two of its next slots are "
        "datetime.timedelta(days=3) apart: people are told of a silence though every slot succeeds.",
    ]


def test_a_silence_longer_than_a_weekend_is_well():
    """A day more than from Friday to Monday, and a minute less than the timeout."""
    working_days = cron("0 8 * * MON-FRI", zone="UTC")
    job(working_days, name="report", max_silence=timedelta(days=4), expected=timedelta(minutes=59))(cronjobs.beat)

    assert found() == []


def test_retry_of_a_job_that_is_not_idempotent_is_well():
    """Exceptions are retried; timed-out attempts are not, and that is what the job says."""
    from crons.jobs.policies import Retry

    job(every(minutes=5), name="heartbeat", retry=Retry(3))(cronjobs.beat)

    assert found() == []


def test_crontab_file_that_cannot_be_read_is_an_error(settings, tmp_path):
    """A path in the settings is meant to be there."""
    settings.CRONS = {**INLINE, "CRONTAB_FILES": [tmp_path / "missing.txt"]}

    message = only()

    assert message.id == "crons.W071"
    assert message.msg.startswith(f"the crontab file {tmp_path / 'missing.txt'} cannot be read: ")


def test_crontab_line_that_calls_no_job_is_a_warning(settings, tmp_path):
    """It may be meant so: renewing a certificate is nobody's job here."""
    (tmp_path / "crontab.txt").write_text("0 2 * * * /usr/bin/certbot renew\n")
    settings.CRONS = {**INLINE, "CRONTAB_FILES": [tmp_path / "crontab.txt"]}

    told(
        "crontab.txt:1 calls no declared job: /usr/bin/certbot renew",
        "Name a script after its job, or call manage.py crons run NAME --scheduled, to have it accounted for.",
    )
    assert only().id == "crons.W031"


def test_crontab_line_that_cannot_be_read_as_a_schedule_is_a_disagreement(settings, tmp_path, declared):
    """It has the form of a line, and no moment."""
    pytest.importorskip("crons.schedules.wallclock")
    (tmp_path / "crontab.txt").write_text("0 25 * * * /srv/heartbeat.sh\n")
    settings.CRONS = {**INLINE, "CRONTAB_FILES": [tmp_path / "crontab.txt"]}

    message = only()

    assert message.id == "crons.W032"
    assert "0 25 * * *, which cannot be read: " in message.msg
    assert "crontab.txt:1" in message.msg


@pytest.mark.parametrize(
    ("name", "meant", "lost"),
    [
        ("CRON", "CRONS", "what it says is not heeded"),
        ("CORNS", "CRONS", "what it says is not heeded"),
    ],
)
def test_setting_nearly_called_what_is_read_is_a_warning(settings, name, meant, lost):
    """It is the seed of hours of looking: nothing complains, nothing runs."""
    setattr(settings, name, [])

    told(f"settings.{name} is nearly {meant}, and nothing reads it: {lost}.", f"Rename it to {meant}.")
    assert only().id == "crons.W033"


@pytest.mark.parametrize(
    "name", ["CRONTAB_COMMAND_SUFFIX", "CRONTAB_LOCK_JOBS", "CORS", "ICONS", "DJANGO_CRON_LOCK_BACKEND"]
)
def test_setting_of_another_name_is_well(settings, name):
    """A warning that is wrong is silenced, and with it the one that is right."""
    setattr(settings, name, [])

    assert found() == []


def test_line_that_calls_a_jobs_command_is_a_warning(settings, tmp_path):
    """See tests/crons/test_shell_words.py for what calls it."""
    command("clearsessions", schedule=cron("@daily"))
    path = tmp_path / "crontab.txt"
    path.write_text("@daily python manage.py clearsessions\n")
    settings.CRONS = {**INLINE, "CRONTAB_FILES": [path]}

    assert only().id == "crons.W082"


@pytest.mark.parametrize(
    ("channel", "problem"),
    [
        ({"KIND": "mial"}, "['KIND'] is 'mial'. Did you mean 'mail'? Known: "),
        ({"KIND": "crons.nothing"}, "['KIND'] is 'crons.nothing', which cannot be imported: "),
        ({"KIND": "crons.models.Entry"}, "['KIND'] is 'crons.models.Entry', which is no crons.watch.alerts.Channel."),
        ({"KIND": "mail", "TOO": "a@example.com"}, "['TOO'] is unknown. Did you mean 'TO'? Known: TO, FROM."),
        ({"KIND": "mail", "TO": ["ann"]}, "['TO'] has 'ann', expected a mail address, or the words 'owner' or "),
        ({"KIND": "mail", "TO": []}, "['TO'] is [], expected addresses, 'owner' or 'admins'."),
    ],
)
def test_a_channel_that_cannot_work_is_an_error(settings, channel, problem):
    """Found at the deploy, not by the first failure of a night."""
    settings.CRONS = {**INLINE, "ALERTS": {"CHANNELS": {"team": channel}}}

    assert only().id == "crons.E007"
    assert only().msg.startswith("CRONS['ALERTS']['CHANNELS']['team']" + problem)


def test_a_route_for_a_rule_that_there_is_not_is_a_warning(settings):
    settings.CRONS = {**INLINE, "ALERTS": {"ROUTES": [{"TO": [], "RULE": "failling"}]}}

    assert only().id == "crons.W044"
    assert only().hint.startswith("Did you mean 'failing'? Known: ")


def test_an_address_to_ping_for_a_job_that_there_is_not_is_a_warning(settings):
    """Nothing would be pinged, and the other side would call that silence."""
    address = "https://hc-ping.example.com/5bf66975"
    settings.CRONS = {**INLINE, "ALERTS": {"PING": {"JOBS": {"nihgtly": address, "*": address, "nightly": address}}}}
    job(NEVER, name="nightly")(print)

    assert only().id == "crons.W045"
    assert only().hint == "Did you mean 'nightly'? All of them: manage.py crons list"


def test_nobody_to_tell_is_a_warning_of_deployment(settings):
    """A failure that nobody hears of is what this is all against."""
    settings.ADMINS = []

    told(
        "Nobody is told when a job fails: alerts go to ADMINS, and ADMINS is empty.",
        "Fill ADMINS, or name other channels in CRONS['ALERTS']; [{'TO': []}] as its ROUTES tells nobody.",
    )
    assert only().id == "crons.W040"


def test_nobody_to_tell_may_be_meant(settings):
    """Whoever has other channels says so."""
    settings.ADMINS = []
    settings.CRONS = {**INLINE, "ALERTS": {"ROUTES": [{"TO": []}]}}

    assert found() == []


@pytest.mark.parametrize("command", ["PRAGMA synchronous=OFF;", "PRAGMA journal_mode=WAL;PRAGMA Synchronous = 0"])
def test_database_that_may_forget_is_a_warning_of_deployment(settings, command):
    """The promise is as durable as the database's commit."""
    settings.DATABASES["default"]["OPTIONS"] = {"init_command": command}

    told(
        "DATABASES['default'] sets synchronous=OFF: after a power failure a slot may run twice.",
        "Use synchronous=FULL for the database of the ledger.",
    )
    assert only().id == "crons.W041"


@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory&cache=shared"])
def test_database_in_memory_is_a_warning_of_deployment(settings, name):
    """No second process sees it."""
    settings.DATABASES["default"]["NAME"] = name

    told(
        "DATABASES['default'] is kept in memory: each process has a ledger of its own, gone when it ends.",
        "Name a file, or use a database server.",
    )
    assert only().id == "crons.W042"


@pytest.mark.parametrize("engine", ["django.db.backends.postgresql", "django.db.backends.sqlite3"])
def test_durable_database_is_well(settings, engine):
    """synchronous=FULL and NORMAL are no OFF."""
    settings.DATABASES["default"]["ENGINE"] = engine
    settings.DATABASES["default"]["OPTIONS"] = {"init_command": "PRAGMA synchronous=NORMAL"}

    assert found() == []


@pytest.mark.parametrize(
    ("lease", "timeout", "told", "hint"),
    [
        (45, 5, ("45", "24.75", "30"), "55 s or longer."),
        (60, 90, ("60", "33", "90"), "164 s or longer, or the timeout of 90 s shorter."),
    ],
)
def test_a_lease_that_bears_no_lock_on_sqlite_is_a_warning(settings, lease, timeout, told, hint):
    """A stranger's lock of 25 s had healthy jobs killed as lost."""
    settings.DATABASES["default"] |= {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"timeout": timeout}}
    settings.CRONS = {"LEASE": timedelta(seconds=lease)}

    (message,) = checks.check_lease()

    assert message.id == "crons.W060"
    assert message.msg == (
        f"A lease of {told[0]} s bears a database that is locked for {told[1]} s, and DATABASES['default'] lets one be "
        f"locked for {told[2]} s: healthy jobs would be killed as lost."
    )
    assert message.hint == f"Make CRONS['LEASE'] {hint}"


@pytest.mark.parametrize("engine", ["django.db.backends.postgresql", "django.db.backends.sqlite3"])
def test_the_default_lease_bears_half_a_minute(settings, engine):
    """On PostgreSQL rows are locked, and waits for them are bounded."""
    settings.DATABASES["default"] |= {"ENGINE": engine, "OPTIONS": {}}
    settings.CRONS = {} if engine.endswith("sqlite3") else {"LEASE": timedelta(seconds=1)}

    assert list(checks.check_lease()) == []


def test_a_suites_mark_left_in_an_environment_is_a_warning(monkeypatch):
    """In an env file it would keep production still; serve says so as well, and ends."""
    monkeypatch.setenv("CRONS_IN_TESTS", "1")
    (message,) = checks.check_suite()

    assert (message.id, message.msg) == (
        "crons.W043",
        "CRONS_IN_TESTS is set, so this process counts as part of a test suite: serve, tick and run begin nothing.",
    )
    assert message.hint.startswith("Take it out of the environment")
    monkeypatch.setenv("CRONS_IN_TESTS", "0")
    assert checks.check_suite() == []
