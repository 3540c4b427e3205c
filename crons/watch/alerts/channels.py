"""The channels that CRONS["ALERTS"] names, made from their settings; what kinds there are."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.module_loading import import_string

from crons.conf import ADMINS, Alerts, ChannelSetting, conf
from crons.exceptions import InvalidSetting, nearest_and_all
from crons.extensions import extensions
from crons.side_output import get_log
from crons.watch.alerts.base import Channel

log = get_log("crons")
_said = ""
OURS = {"mail": "crons.watch.alerts.mail.Mail"}


def kinds() -> dict[str, str]:
    """Return what KIND may say → the dotted path of its class: ours, and those of extensions."""
    return {**OURS, **{kind: path for each in extensions() for kind, path in each.channels.items()}}


def make_channel(name: str) -> Channel:
    """Make the channel called *name*.

    Raises: InvalidSetting if there is none, or it cannot work.
    """
    channels = alerts().channels
    if name not in channels:
        raise InvalidSetting(
            f"the channel {name!r} is not in CRONS['ALERTS']['CHANNELS'].{nearest_and_all(name, sorted(channels))}"
        )
    return build(channels[name])


def build(setting: ChannelSetting) -> Channel:
    """Make one channel; a KIND with a dot in it is the path of a class of the project's own.

    Raises: InvalidSetting.
    """
    known = kinds()
    path = known.get(setting.kind, setting.kind if "." in setting.kind else "")
    if not path:
        raise InvalidSetting(f"{setting.place}['KIND'] is {setting.kind!r}.{nearest_and_all(setting.kind, known)}")
    try:
        made = import_string(path)
    except ImportError as error:
        raise InvalidSetting(
            f"{setting.place}['KIND'] is {setting.kind!r}, which cannot be imported: {error}"
        ) from error
    if not (isinstance(made, type) and issubclass(made, Channel)):
        raise InvalidSetting(f"{setting.place}['KIND'] is {setting.kind!r}, which is no crons.watch.alerts.Channel.")
    return made(setting.name, setting.options)


def alerts() -> Alerts:
    """Return the settings of alerts; where they are wrong, those that mail ADMINS: what is wrong must be told."""
    try:
        return conf.alerts
    except InvalidSetting as error:
        global _said
        if _said != str(error):
            _said = str(error)
            about = {"event": "setting.refused", "setting": "ALERTS"}
            log.error("CRONS['ALERTS'] cannot be used, so ADMINS are mailed: %s", error, extra=about)  # noqa: TRY400 (it says all)
        return Alerts(channels={ADMINS: ChannelSetting(ADMINS, "mail", {})})


def is_gone(name: str) -> bool:
    """Say whether the settings, which are well, have no channel of that name."""
    try:
        return name not in conf.alerts.channels
    except InvalidSetting:
        return False


def reachable(names: tuple[str, ...]) -> Iterator[str]:
    """Yield those of *names* that would reach anybody; one that cannot be made is kept, to be seen failing."""
    settings = alerts().channels
    for name in names:
        try:
            is_on = build(settings[name]).is_on()
        except InvalidSetting:
            is_on = True
        if is_on:
            yield name
