"""Settings: one dict, CRONS, read at use; every key and default is here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.utils.module_loading import import_string

from crons.conf.alerts import (
    ADMINS,
    Alerts,
    ChannelSetting,
    Route,
    first_line,
    one_secret,
    read_alerts,
    webhook_secrets,
)
from crons.conf.functions import read_function
from crons.conf.over_http import HttpTick, Monitoring, read_http_tick, read_monitoring
from crons.exceptions import InvalidSetting, nearest_and_all
from crons.extensions import extensions
from crons.verdicts import Verdict

DEFAULTS: dict[str, Any] = {
    "ENABLED": True,
    "IDENTITY": "",
    "DATABASE": "default",
    "TIME_ZONE": "",
    "DEFAULTS": {},
    "EXECUTORS": {
        "process": {"BACKEND": "crons.executors.process.executor.ProcessExecutor", "OPTIONS": {}},
        "inline": {"BACKEND": "crons.executors.inline.InlineExecutor", "OPTIONS": {}},
    },
    "MAX_RUNNING": 4,
    "GROUPS": {},
    "GRACE": timedelta(seconds=60),
    "LEASE": timedelta(seconds=60),
    "DRAIN": timedelta(seconds=30),
    "OUTPUT_LIMIT_BYTES": 1_000_000,
    "LOG_LEVEL": "INFO",
    "REDACT": [],
    "MODULES": [],
    "DISCOVER": True,
    "CRONTAB_FILES": [],
    "LOG_DIR": "",
    "ENV_FILE": "",
    "STATE_DIR": "",
    "RELEASE": "",
    "ALERTS": {},
    "KEEP": {
        "default": timedelta(days=180),
        "succeeded": timedelta(days=30),
        "skipped": timedelta(days=30),
        "incidents": timedelta(days=365),
        "audit": timedelta(days=730),
    },
    "HTTP_TICK": {},
    "MONITORING": {},
    "RIGHTS": "",
}
# What is wrong with USE_TZ = False, and what to do: crons.E003, and whatever asks for rows.
NO_ZONES = (
    "USE_TZ is False, so moments would be stored without a zone.",
    "Set USE_TZ = True: slots are kept in UTC and shown in each entry's zone.",
)
KEEP_KEYS = (*(verdict.value for verdict in Verdict), "incidents", "audit")


def default_executors() -> dict[str, Mapping[str, Any]]:
    """Return the executors that are there without a setting: ours, and those of extensions."""
    of_others = {alias: path for each in extensions() for alias, path in each.executors.items()}
    return {**DEFAULTS["EXECUTORS"], **{alias: {"BACKEND": path, "OPTIONS": {}} for alias, path in of_others.items()}}


__all__ = [
    "ADMINS",
    "DEFAULTS",
    "KEEP_KEYS",
    "NO_ZONES",
    "Alerts",
    "ChannelSetting",
    "Conf",
    "HttpTick",
    "Monitoring",
    "Route",
    "conf",
    "default_executors",
    "first_line",
    "one_secret",
    "webhook_secrets",
]


class Conf:
    """Typed properties over settings.CRONS; reading one never caches, so override_settings works."""

    @property
    def enabled(self) -> bool:
        """Whether anything may be recorded or begun. Default True; CRONS_ENABLED=0 in the environment wins."""
        return self._get("ENABLED", bool) and os.environ.get("CRONS_ENABLED", "1") not in (
            "0",
            "false",
            "no",
            "off",
        )

    @property
    def identity(self) -> str:
        """A name for this deployment. Default "": taken from where the database lives."""
        return str(self._get("IDENTITY", str))

    @property
    def database(self) -> str:
        """The alias in DATABASES that holds the ledger. Default "default".

        Raises: InvalidSetting also where USE_TZ is off: whoever asks for rows asks this first, and what follows
        would end in an error of Django's about moments without a zone.
        """
        if not settings.USE_TZ:
            raise InvalidSetting(f"{NO_ZONES[0]} {NO_ZONES[1]}")
        alias = str(self._get("DATABASE", str))
        if alias not in settings.DATABASES:
            raise InvalidSetting(f"CRONS['DATABASE'] is {alias!r}, expected one of {sorted(settings.DATABASES)}.")
        return alias

    @property
    def time_zone(self) -> str:
        """Where cron fields are read unless an entry says otherwise. Default: settings.TIME_ZONE."""
        return str(self._get("TIME_ZONE", str) or settings.TIME_ZONE)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Policies of every job that does not say otherwise. Default {}."""
        return dict(self._get("DEFAULTS", dict))

    @property
    def executors(self) -> Mapping[str, Mapping[str, Any]]:
        """Executors by alias: BACKEND (dotted path) and OPTIONS. Ours and those of extensions are always there."""
        return {**default_executors(), **self._get("EXECUTORS", dict)}

    @property
    def max_running(self) -> int:
        """How many attempts one scheduler runs at once. Default 4."""
        return self._positive("MAX_RUNNING")

    @property
    def groups(self) -> Mapping[str, int]:
        """How many runs of a group may be going at once, over all hosts. Default {}: no limit."""
        groups: dict[str, int] = self._get("GROUPS", dict)
        for name, limit in groups.items():
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
                raise InvalidSetting(f"CRONS['GROUPS'][{name!r}] is {limit!r}, expected a whole number of at least 1.")
        return groups

    @property
    def grace(self) -> timedelta:
        """How late a slot still counts as on time. Default 60 s."""
        return self._length("GRACE")

    @property
    def lease(self) -> timedelta:
        """How long an attempt belongs to its process without a renewal. Default 60 s; renewed at a quarter of it."""
        return self._length("LEASE")

    @property
    def drain(self) -> timedelta:
        """How long a stopping scheduler lets its attempts finish. Default 30 s; 2 s at a terminal."""
        return self._length("DRAIN", positive=False)

    @property
    def output_limit_bytes(self) -> int:
        """How much of an attempt's output is kept: two thirds from its start, the rest from its end. Default 1 MB."""
        return self._positive("OUTPUT_LIMIT_BYTES")

    @property
    def log_level(self) -> str:
        """The least level of log records kept with an attempt. Default "INFO"."""
        level = str(self._get("LOG_LEVEL", str))
        if level.upper() not in logging.getLevelNamesMapping():
            raise InvalidSetting(f"CRONS['LOG_LEVEL'] is {level!r}, expected a level such as 'INFO'.")
        return level

    @property
    def redact(self) -> list[str]:
        """Further texts never to be stored in output. Default []; secret settings are always hidden."""
        return list(self._get("REDACT", (list, tuple)))

    @property
    def modules(self) -> list[str]:
        """Further modules that declare, besides those called `cron`. Default []."""
        names = self._get("MODULES", (list, tuple))
        for name in names:
            if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
                raise InvalidSetting(f"CRONS['MODULES'] has {name!r}, expected the name of a module: 'shop.tasks'.")
        return list(names)

    @property
    def discover(self) -> bool:
        """Whether modules called `cron` are loaded, of apps and of the project. Default True; else only MODULES."""
        return bool(self._get("DISCOVER", bool))

    @property
    def crontab_files(self) -> list[Path]:
        """Crontab files whose lines are bound to declared jobs. Default []."""
        return [Path(path) for path in self._get("CRONTAB_FILES", (list, tuple))]

    @property
    def log_dir(self) -> Path | None:
        """Where lines that `crons apply` writes send what they print. Default "": below the state directory."""
        return self._path("LOG_DIR")

    @property
    def env_file(self) -> Path | None:
        """A file of variables that a shell can read, for lines that `crons apply` writes. Default "": none."""
        return self._path("ENV_FILE")

    @property
    def state_dir(self) -> Path | None:
        """Where backups of crontabs are kept. Default "": .local/state/crons in the account's home."""
        return self._path("STATE_DIR")

    @property
    def release(self) -> str:
        """What a heartbeat calls the running code. Default "": none."""
        return str(self._get("RELEASE", str))

    @property
    def alerts(self) -> Alerts:
        """Who is told of what is wrong, over which channels, and when not. Default {}: ADMINS, by mail."""
        # Not through _get: what came may hold secrets, and no message may say it.
        crons = getattr(settings, "CRONS", {})
        return read_alerts(crons.get("ALERTS", {}) if isinstance(crons, dict) else {})

    @property
    def keep(self) -> Mapping[str, timedelta | None]:
        """How long rows are kept: by verdict, incidents and audit; None is for ever. Default 30 days to 2 years."""
        given = self._get("KEEP", (dict, type(None)))
        if given is None:
            return dict.fromkeys(KEEP_KEYS)
        for name, length in given.items():
            if name not in (*KEEP_KEYS, "default"):
                raise InvalidSetting(
                    f"CRONS['KEEP'][{name!r}] is unknown.{nearest_and_all(str(name), sorted(KEEP_KEYS))}"
                )
            if length is not None and not (isinstance(length, timedelta) and length > timedelta(0)):
                raise InvalidSetting(f"CRONS['KEEP'][{name!r}] is {length!r}, expected a positive timedelta or None.")
        lengths = {**DEFAULTS["KEEP"], **given}
        return {name: lengths.get(name, lengths["default"]) for name in KEEP_KEYS}

    @property
    def http_tick(self) -> HttpTick:
        """What opens POST /crons/tick, and whether it starts `crons tick`: SECRET, STARTS, VERIFY. Default {}: 404."""
        return read_http_tick()

    @property
    def monitoring(self) -> Monitoring:
        """Who may read what is for machines without a login: TOKEN and NETWORKS. Default {}: nobody."""
        return read_monitoring()

    @property
    def rights(self) -> Callable[[Any, str], object] | None:
        """What narrows a person's permission to some entries, on pages. Default "": nothing."""
        path = str(self._get("RIGHTS", str))
        return read_function(path, "CRONS['RIGHTS']", "user, permission") if path else None

    def make_executor(self, alias: str) -> Any:
        """Build the executor called *alias*.

        Raises: InvalidSetting if there is none, or its BACKEND cannot be imported.
        """
        return self.executor_class(alias)(alias=alias, **self.executors[alias].get("OPTIONS", {}))

    def executor_class(self, alias: str) -> Any:
        """Import the class of the executor called *alias*.

        Raises: as make_executor.
        """
        if alias not in self.executors:
            raise InvalidSetting(
                f"executor {alias!r} is not in CRONS['EXECUTORS'].{nearest_and_all(alias, sorted(self.executors))}"
            )
        try:
            return import_string(self.executors[alias]["BACKEND"])
        except (ImportError, KeyError) as error:
            raise InvalidSetting(f"CRONS['EXECUTORS'][{alias!r}]: BACKEND cannot be imported: {error}.") from error

    def problems(self) -> list[str]:
        """List what is wrong with settings.CRONS, one sentence each; empty means well."""
        given = getattr(settings, "CRONS", {})
        if not isinstance(given, dict):
            return [f"CRONS is {given!r}, expected a dict."]
        found = [
            f"CRONS[{key!r}] is unknown.{nearest_and_all(str(key), sorted(DEFAULTS))}"
            for key in given
            if key not in DEFAULTS
        ]
        for name in (key.lower() for key in DEFAULTS):
            try:
                getattr(self, name)
            except InvalidSetting as error:
                if name != "database" or settings.USE_TZ:  # crons.E003 says that
                    found.append(str(error))
        return found

    def _get(self, key: str, kind: type | tuple[type, ...]) -> Any:
        given = getattr(settings, "CRONS", {})
        value = given.get(key, DEFAULTS[key]) if isinstance(given, dict) else DEFAULTS[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            names = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
            article = "an" if names[0] in "aeiou" else "a"
            raise InvalidSetting(f"CRONS[{key!r}] is {value!r}, expected {article} {names}.")
        return value

    def _path(self, key: str) -> Path | None:
        value = str(self._get(key, (str, Path)))
        if value and not Path(value).is_absolute():
            raise InvalidSetting(f"CRONS[{key!r}] is {value!r}, expected an absolute path: cron starts elsewhere.")
        return Path(value) if value else None

    def _positive(self, key: str) -> int:
        value = cast(int, self._get(key, int))
        if value < 1:
            raise InvalidSetting(f"CRONS[{key!r}] is {value!r}, expected a whole number of at least 1.")
        return value

    def _length(self, key: str, *, positive: bool = True) -> timedelta:
        value = cast(timedelta, self._get(key, timedelta))
        if value < timedelta(0) or (positive and not value):
            raise InvalidSetting(f"CRONS[{key!r}] is {value!r}, expected a positive timedelta.")
        return value


conf = Conf()
