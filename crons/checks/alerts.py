"""Checks that what CRONS["ALERTS"] names is there: kinds of channels, what these need, rules, jobs to ping."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage, Error, Warning, register

from crons.checks.asking import of_declarations
from crons.checks.base import TAG, known_good
from crons.conf import conf
from crons.conf.alerts import ADMINS
from crons.exceptions import InvalidSetting, nearest, nearest_and_all
from crons.jobs import registry


@register(TAG)
@known_good
def check_channels() -> Iterator[CheckMessage]:
    """Check that every channel can be made, and that routes name rules that there are."""
    if set(conf.alerts.channels) <= {ADMINS} and not conf.alerts.routes:
        return
    # Here: each command of a project runs the checks, and most need nothing of what runs jobs.
    from crons.watch import RULES_KNOWN, build_channel

    for setting in conf.alerts.channels.values():
        try:
            build_channel(setting)
        except InvalidSetting as error:
            yield Error(
                str(error),
                hint="Mend it in CRONS['ALERTS']['CHANNELS'], and try it: manage.py crons alert --test",
                id="crons.E007",
            )
    for at, route in enumerate(conf.alerts.routes):
        for rule in route.rule:
            if rule not in RULES_KNOWN:
                yield Warning(
                    f"CRONS['ALERTS']['ROUTES'][{at}]['RULE'] has {rule!r}, which no rule is called: it fits nothing.",
                    hint=nearest_and_all(rule, sorted(RULES_KNOWN)).strip(),
                    id="crons.W044",
                )


@register(TAG)
@of_declarations
def check_pings() -> Iterator[CheckMessage]:
    """Check that only jobs that there are have an address to ping."""
    known = {job.name for job in registry.jobs.values()} | set(registry.entries)
    for name in conf.alerts.pings.jobs:
        if name != "*" and name not in known:
            yield Warning(
                f"CRONS['ALERTS']['PING']['JOBS'] names {name!r}, which is not declared: nothing is pinged for it.",
                hint=f"{nearest(name, known)} All of them: manage.py crons list".strip(),
                id="crons.W045",
            )
