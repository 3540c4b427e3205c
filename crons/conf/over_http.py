"""Settings of what answers over HTTP: who may have the clock looked at, and who may read without a login."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, NamedTuple

from django.conf import settings

from crons.conf.functions import read_function
from crons.conf.secrets import read_secrets, signing_key
from crons.exceptions import InvalidSetting, nearest_and_all

TICK_KEYS = ("SECRET", "STARTS", "VERIFY")
MONITORING_KEYS = ("TOKEN", "NETWORKS")
_SECRET = "CRONS['HTTP_TICK']['SECRET']"
Network = IPv4Network | IPv6Network
Verify = Callable[[str, Any], bool]


class HttpTick(NamedTuple):
    """How POST /crons/tick is opened: by *secrets*, or by *verify*; *starts*: whether it starts `crons tick`."""

    secrets: tuple[str, ...]
    starts: bool
    verify: Verify | None

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What requests are signed with."""
        return tuple(signing_key(each, _SECRET) for each in self.secrets)

    @property
    def is_on(self) -> bool:
        """Whether there is such a page."""
        return bool(self.secrets or self.verify)


class Monitoring(NamedTuple):
    """Who may read what is for machines: who says one of *tokens*, and whose address is in *networks*."""

    tokens: tuple[str, ...]
    networks: tuple[Network, ...]


def read_http_tick() -> HttpTick:
    """Return what CRONS["HTTP_TICK"] says.

    Raises: InvalidSetting.
    """
    given = _given("HTTP_TICK", TICK_KEYS)
    about = "CRONS['HTTP_TICK']"
    secrets = read_secrets(given.get("SECRET", ""), _SECRET)
    starts = given.get("STARTS", True)
    if not isinstance(starts, bool):
        raise InvalidSetting(f"{about}['STARTS'] is a {type(starts).__name__}, expected True or False.")
    setting = HttpTick(secrets, starts, _function_at(given.get("VERIFY", ""), f"{about}['VERIFY']"))
    _ = setting.keys  # what is wrong with one is said now
    return setting


def read_monitoring() -> Monitoring:
    """Return what CRONS["MONITORING"] says.

    Raises: InvalidSetting.
    """
    given = _given("MONITORING", MONITORING_KEYS)
    networks = given.get("NETWORKS", [])
    if not isinstance(networks, (list, tuple)):
        raise InvalidSetting(f"CRONS['MONITORING']['NETWORKS'] is {networks!r}, expected a list of networks.")
    tokens = read_secrets(given.get("TOKEN", ""), "CRONS['MONITORING']['TOKEN']")
    return Monitoring(tokens, tuple(_network(each) for each in networks))


def _given(name: str, keys: Collection[str]) -> dict[str, Any]:
    # No message shows what came, for it may be a secret: a check would print it, and a log keep it.
    crons = getattr(settings, "CRONS", {})
    given = crons.get(name, {}) if isinstance(crons, dict) else {}
    if not isinstance(given, dict):
        expected = ", ".join(f"{key!r}: …" for key in keys)
        raise InvalidSetting(f"CRONS[{name!r}] is no dict, expected {{{expected}}}.")
    for key in given:
        if key not in keys:
            # A word of letters and no long one: where braces and commas went wrong, a secret may stand as a key.
            shown = repr(key) if re.fullmatch("[A-Za-z_]{1,20}", str(key)) else "…"
            raise InvalidSetting(f"CRONS[{name!r}][{shown}] is unknown.{nearest_and_all(str(key), keys)}")
    return given


def _function_at(path: Any, key: str) -> Verify | None:
    if not isinstance(path, str):
        raise InvalidSetting(f"{key} is a {type(path).__name__}, expected the dotted path of a function as a text.")
    if not path:
        return None
    found: Verify = read_function(path, key, "token, request")
    return found


def _network(text: Any) -> Network:
    try:
        return ip_network(text if isinstance(text, str) else repr(text))  # of a number it would make an address
    except ValueError as error:
        raise InvalidSetting(
            f"CRONS['MONITORING']['NETWORKS'] has {text!r}, expected a network such as '10.0.0.0/8' or '::1': {error}."
        ) from error
