"""CRONS["ALERTS"]: over which channels who is told of what, and when not; whatever is wrong is said with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from crons.conf.secrets import KEY_PREFIX, read_lines, read_secrets, signing_key
from crons.exceptions import InvalidSetting, nearest_and_all

PLACE = "CRONS['ALERTS']"
KEYS = ("BASE_URL", "CHANNELS", "ROUTES", "QUIET", "MOST_PER_HOUR", "PING")
ROUTE_KEYS = ("TO", "OWNER", "TAG", "SEVERITY", "RULE", "REPEAT")
QUIET_KEYS = ("FROM", "UNTIL", "ZONE")
PING_KEYS = ("DEPLOYMENT", "JOBS")
SEVERITIES = ("info", "warning", "critical")
# Always there: mail to ADMINS, for whatever no route takes.
ADMINS = "admins"
MOST_PER_HOUR = 20
SHORTEST_REPEAT = timedelta(minutes=5)


@dataclass(frozen=True)
class ChannelSetting:
    """A channel as the settings name it; *options* are its kind's to read, and may hold secrets."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(repr=False)

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{PLACE}['CHANNELS'][{self.name!r}]"


@dataclass(frozen=True)
class Route:
    """Who is told of what fits all of its conditions; an empty condition fits everything."""

    to: tuple[str, ...]
    owner: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()
    repeat: timedelta | None = None

    def takes(self, *, owner: str, tags: Iterable[str], severity: str, rule: str) -> bool:
        """Say whether it is the one for such an incident."""
        given = ((self.owner, {owner}), (self.tag, set(tags)), (self.severity, {severity}), (self.rule, {rule}))
        return all(not wanted or found & set(wanted) for wanted, found in given)


@dataclass(frozen=True)
class Quiet:
    """Hours of the day in which only what is critical is told."""

    start: time
    end: time
    zone: ZoneInfo

    def ends_after(self, now: datetime) -> datetime | None:
        """Return when the quiet that holds at *now* is over; None where none holds."""
        local = now.astimezone(self.zone)
        today = local.time()
        over_midnight = self.start > self.end
        holds = today >= self.start or today < self.end if over_midnight else self.start <= today < self.end
        if not holds:
            return None
        day = local.date() + timedelta(days=1) if over_midnight and today >= self.start else local.date()
        return datetime.combine(day, self.end, self.zone).astimezone(now.tzinfo)


@dataclass(frozen=True)
class Pings:
    """Addresses to call: of the whole deployment, and of jobs; each one is a secret."""

    deployment: str = field(default="", repr=False)
    jobs: Mapping[str, str] = field(default_factory=dict, repr=False)

    def of(self, entry: str) -> str:
        """Return the address of *entry*; "" where it has none."""
        return self.jobs.get(entry) or self.jobs.get("*", "").replace("{name}", entry)


@dataclass(frozen=True)
class Alerts:
    """All of it, read and checked; what the options of a channel mean is for its kind to say."""

    base_url: str = ""
    channels: Mapping[str, ChannelSetting] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    quiet: Quiet | None = None
    most_per_hour: int = MOST_PER_HOUR
    pings: Pings = field(default_factory=Pings)

    def route(self, **about: Any) -> Route:
        """Return the first route that takes it; what none takes goes to ADMINS."""
        return next((each for each in self.routes if each.takes(**about)), Route((ADMINS,)))


def read_alerts(given: Any) -> Alerts:
    """Read CRONS["ALERTS"].

    Raises: InvalidSetting; its message holds no value of a channel's option and no address to ping.
    """
    given = _dict(given, PLACE, KEYS)
    channels = _channels(given.get("CHANNELS", {}))
    base_url = given.get("BASE_URL", "")
    if not isinstance(base_url, str) or (base_url and not base_url.startswith(("http://", "https://"))):
        raise InvalidSetting(
            f"{PLACE}['BASE_URL'] is {base_url!r}, expected the address at which your URLs include crons.urls, such "
            "as 'https://crm.example.com/crons/'."
        )
    most = given.get("MOST_PER_HOUR", MOST_PER_HOUR)
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise InvalidSetting(f"{PLACE}['MOST_PER_HOUR'] is {most!r}, expected a whole number of at least 1.")
    routes = given.get("ROUTES", [])
    if not isinstance(routes, (list, tuple)):
        raise InvalidSetting(f"{PLACE}['ROUTES'] is {routes!r}, expected a list of dicts such as {{'TO': ['admins']}}.")
    return Alerts(
        base_url=f"{base_url.rstrip('/')}/" if base_url else "",
        channels=channels,
        routes=tuple(_route(each, f"{PLACE}['ROUTES'][{at}]", channels) for at, each in enumerate(routes)),
        quiet=_quiet(given["QUIET"]) if given.get("QUIET") else None,
        most_per_hour=most,
        pings=_pings(given.get("PING", {})),
    )


def one_secret(given: Any, place: str) -> str:
    """Return an address that is a secret: a text, or a pathlib.Path of a file whose first line it is."""
    if isinstance(given, Path):
        given = first_line(given, place)
    if not isinstance(given, str) or not given.startswith(("http://", "https://")) or _has_blank(given):
        raise InvalidSetting(f"{place} is no address that begins with http:// or https://, nor a file of one.")
    return given


def first_line(path: Path, place: str) -> str:
    """Return the secret in a file that only its owner may read."""
    return read_lines(path, place)[0].strip()


def webhook_secrets(given: Any, place: str) -> tuple[str, ...]:
    """Return secrets as Standard Webhooks writes them, `whsec_` and base64; several while one takes another's place."""
    secrets = read_secrets(given, place)
    for each in secrets:
        if not each.startswith(KEY_PREFIX):
            raise InvalidSetting(
                f"{place} has a secret that does not begin with {KEY_PREFIX}; "
                f"""make one: echo "{KEY_PREFIX}$(openssl rand -base64 32)"."""
            )
        signing_key(each, place)
    return secrets


def _has_blank(text: str) -> bool:
    return any(letter.isspace() or not letter.isprintable() for letter in text)


def _dict(given: Any, place: str, keys: Iterable[str]) -> dict[str, Any]:
    # What was given is not shown: it may be an address with a secret in it.
    if not isinstance(given, dict):
        raise InvalidSetting(f"{place} is {_article(given)}, expected a dict of {', '.join(keys)}.")
    for key in given:
        if key not in keys:
            raise InvalidSetting(f"{place}[{key!r}] is unknown.{nearest_and_all(str(key), keys)}")
    return given


def _article(given: Any) -> str:
    name = type(given).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _channels(given: Any) -> dict[str, ChannelSetting]:
    if not isinstance(given, dict):
        raise InvalidSetting(f"{PLACE}['CHANNELS'] is {_article(given)}, expected a dict of a dict for each channel.")
    found = {ADMINS: ChannelSetting(ADMINS, "mail", {})}
    for name, options in given.items():
        place = f"{PLACE}['CHANNELS'][{name!r}]"
        # It stands in a row of 50 characters, and on command lines.
        if not isinstance(name, str) or not 0 < len(name) <= 50 or _has_blank(name):
            raise InvalidSetting(f"{place}: a channel's name is a word of at most 50 characters.")
        if not isinstance(options, dict) or not isinstance(options.get("KIND"), str):
            raise InvalidSetting(f"{place} has no KIND, expected a dict such as {{'KIND': 'mail', 'TO': […]}}.")
        found[name] = ChannelSetting(name, options["KIND"], {key: options[key] for key in options if key != "KIND"})
    return found


def _route(given: Any, place: str, channels: Iterable[str]) -> Route:
    given = _dict(given, place, ROUTE_KEYS)
    if "TO" not in given:
        raise InvalidSetting(f"{place} has no TO, expected the names of channels; [] tells nobody.")
    to = _texts(given["TO"], f"{place}['TO']")
    for name in to:
        if name not in channels:
            raise InvalidSetting(
                f"{place}['TO'] names the channel {name!r}, which is not in {PLACE}['CHANNELS']."
                f"{nearest_and_all(name, sorted(channels))}"
            )
    severity = _texts(given.get("SEVERITY", ()), f"{place}['SEVERITY']")
    for word in severity:
        if word not in SEVERITIES:
            raise InvalidSetting(f"{place}['SEVERITY'] has {word!r}.{nearest_and_all(word, SEVERITIES)}")
    repeat = given.get("REPEAT")
    if repeat is not None and not (isinstance(repeat, timedelta) and repeat >= SHORTEST_REPEAT):
        raise InvalidSetting(f"{place}['REPEAT'] is {repeat!r}, expected a timedelta of at least 5 minutes.")
    others = {key.lower(): _texts(given.get(key, ()), f"{place}[{key!r}]") for key in ("OWNER", "TAG", "RULE")}
    return Route(to, severity=severity, repeat=repeat, **others)


def _texts(given: Any, place: str) -> tuple[str, ...]:
    several = (given,) if isinstance(given, str) else given
    if not isinstance(several, (list, tuple)) or not all(isinstance(each, str) and each for each in several):
        raise InvalidSetting(f"{place} is {given!r}, expected a text or a list of texts.")
    return tuple(several)


def _quiet(given: Any) -> Quiet:
    place = f"{PLACE}['QUIET']"
    given = _dict(given, place, QUIET_KEYS)
    start, end = (_time(given.get(key), f"{place}[{key!r}]") for key in ("FROM", "UNTIL"))
    if start == end:
        raise InvalidSetting(f"{place}: FROM and UNTIL are the same, so it would be quiet always or never.")
    name = given.get("ZONE")
    try:
        zone = ZoneInfo(name)
    except (TypeError, AttributeError, ValueError, OSError, KeyError) as error:
        raise InvalidSetting(f"{place}['ZONE'] is {name!r}, expected a time zone such as 'Europe/Berlin'.") from error
    return Quiet(start, end, zone)


def _time(given: Any, place: str) -> time:
    try:
        return time.fromisoformat(given)
    except (TypeError, ValueError) as error:
        raise InvalidSetting(f"{place} is {given!r}, expected a time of day such as '22:00'.") from error


def _pings(given: Any) -> Pings:
    place = f"{PLACE}['PING']"
    given = _dict(given, place, PING_KEYS)
    jobs = given.get("JOBS", {})
    if not isinstance(jobs, dict) or not all(isinstance(name, str) for name in jobs):
        raise InvalidSetting(f"{place}['JOBS'] is {_article(jobs)}, expected a dict of names and addresses.")
    deployment = given.get("DEPLOYMENT", "")
    return Pings(
        one_secret(deployment, f"{place}['DEPLOYMENT']") if deployment else "",
        {name: one_secret(address, f"{place}['JOBS'][{name!r}]") for name, address in jobs.items()},
    )
