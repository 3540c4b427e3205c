"""Checks of a project that has django-crontab: what its own lines do besides, and what of its settings holds here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from django.apps import apps
from django.core.checks import CheckMessage, Tags, Warning, register
from django.utils import timezone

from crons.checks.base import TAG, known_good
from crons.conf import conf
from crons.contrib.django_crontab import line_settings, past_ledger
from crons.contrib.django_crontab.past_ledger import COMPAT, DJANGO_CRONTAB
from crons.contrib.django_crontab.source import readable_lines
from crons.exceptions import CronsError
from crons.schedules import cron, zones
from crons.sources.base import without_secrets

LONGEST_DISTANCE = timedelta(days=8)  # a line of one day a week shows its shift within it
HALF_A_YEAR = timedelta(weeks=26)  # in winter London and UTC agree


@register(TAG, Tags.compatibility)
@known_good
def check_django_crontab() -> Iterator[CheckMessage]:
    """Check that what django-crontab installs goes through the ledger."""
    installed = [config.name for config in apps.get_app_configs()]
    if not past_ledger.has_the_command():
        return
    twice = past_ledger.find()
    if twice.entries:
        done = f"the crontab of {twice.account} holds its lines for {', '.join(sorted(twice.entries))}: each runs twice"
        done += " as soon as crons serve or tick runs, once without a record"
    else:
        done = "what its lines fire is not recorded, and runs twice as soon as crons serve or tick runs"
    if COMPAT not in installed:
        yield Warning(
            f"{DJANGO_CRONTAB} is installed without {COMPAT}: {done}.", hint=past_ledger.WAYS_OUT, id="crons.W034"
        )
    else:
        yield Warning(
            f"{COMPAT} stands after {DJANGO_CRONTAB}, whose command wins: {done}.",
            hint=past_ledger.WAYS_OUT,
            id="crons.W035",
        )


@register(TAG)
@known_good
def check_lines_at_reboot() -> Iterator[CheckMessage]:
    """Check that no line of CRONJOBS waits for a moment that no schedule has."""
    for line in readable_lines():
        if line.is_at_reboot:
            yield Warning(
                f"{line.ref} {line.called} is to run @reboot, a moment that no schedule has: crons serve and tick "
                "never begin it. A line of django-crontab that fires it is recorded as a manual run.",
                hint="Leave that line installed (manage.py crontab add), or start it where the machine starts: "
                "manage.py crons run NAME --manual.",
                id="crons.W080",
            )


@register(TAG)
@known_good
def check_crontab_settings() -> Iterator[CheckMessage]:
    """Check that what surrounds the command of django-crontab's lines is not missed where something else fires."""
    lines = readable_lines()
    found = list(line_settings.shell_only()) if lines else []
    found += [(line.ref, left) for line in lines if (left := line_settings.beyond_redirections(line.suffix))]
    for where, left in found:
        yield Warning(
            without_secrets(
                f"{where} has {left!r}, which holds in the lines of django-crontab alone: what crons serve or tick "
                "begin runs without it."
            ),
            hint="Assignments (NAME=value) in CRONTAB_COMMAND_PREFIX hold everywhere. Do the rest in the job, or start "
            "crons serve so; a line that must stay as it is goes on by manage.py crontab add.",
            id="crons.W081",
        )


@register(TAG)
@known_good
def check_clock_of_lines() -> Iterator[CheckMessage]:
    """Check that cron and crons mean the same moments by the lines of CRONJOBS."""
    if DJANGO_CRONTAB not in [config.name for config in apps.get_app_configs()]:
        return
    from crons.targets import crond  # with what runs jobs: most processes of a site need none of it

    try:
        machine, where = crond.zone()
    except CronsError:
        return  # doctor says it
    try:
        project = ZoneInfo(conf.time_zone)
    except (KeyError, ValueError, OSError):
        return  # E004 says it
    now = timezone.now()
    for line in readable_lines():
        both = _moments(line.schedule_text, machine, project, now)
        if both is None:
            continue
        of_cron, of_crons = both
        hours = (of_crons - of_cron) / timedelta(hours=1)
        yield Warning(
            f"{line.ref} {line.called}: cron reads {line.schedule_text!r} by the machine's clock ({where}) and fires "
            f"it at {_clock_time(of_cron, project)}; crons serve reads it in {conf.time_zone} and will run it at "
            f"{_clock_time(of_crons, project)}, {abs(hours):g} h {'later' if hours > 0 else 'earlier'}.",
            hint="Decide which is meant. To keep the times of the machine's clock, name its zone in "
            'CRONS = {"TIME_ZONE": …}; to have cron keep the others, start it with that TZ, or have crons fire.',
            id="crons.W083",
        )


def _moments(text: str, machine: tzinfo, project: tzinfo, now: datetime) -> tuple[datetime, datetime] | None:
    """Return when a line is due next by the one clock, and by the other at the same reading; None where all agree."""
    try:
        schedule = cron(text)
    except CronsError:
        return None  # W030 says it
    for start in (now, now + HALF_A_YEAR):
        end = start + LONGEST_DISTANCE
        moments = schedule.between(start, end, machine)
        if moments != schedule.between(start, end, project):
            first = moments[0] if moments else schedule.next_after(start, machine)
            return first, zones.first_moment(zones.reading(first, machine), project)
    return None


def _clock_time(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%H:%M %z}"
