"""Checks of where entries are declared: code, CRONJOBS, crontab files, CRON_CLASSES."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register

from crons.checks.asking import is_asked_for, must_be_whole, of_declarations
from crons.checks.framing import TAG, known_good, message
from crons.exceptions import CronsError
from crons.jobs import registry
from crons.schedules import parse
from crons.sources import SOURCES
from crons.sources.base import Binding, says
from crons.sources.code import CodeSource, broken_modules, names_crons

DJANGO_CRON, CLASSES_COMPAT = "django_cron", "crons.compat.django_cron"
# What nothing reads under a misspelt name, and what is lost by that.
OURS = {
    "CRONJOBS": "its lines are installed nowhere",
    "CRON_CLASSES": "its classes are never run",
    "CRONS": "what it says is not heeded",
}


@register(TAG)
@of_declarations
def check_sources() -> Iterator[CheckMessage]:
    """Check what CRONJOBS, CRON_CLASSES and crontab files say, and that it is what the code says."""
    yield from _broken_modules()
    readings = [source.read() for source in SOURCES]
    for source, reading in zip(SOURCES, readings, strict=True):
        if not isinstance(source, CodeSource):
            yield from map(message, reading.problems)
    for reading in readings:
        for binding in reading.bindings:
            yield from _disagreement(binding)


@register(TAG)
@known_good
def check_spelling() -> Iterator[CheckMessage]:
    """Check that no setting is nearly called what is read."""
    for name in filter(str.isupper, dir(settings)):
        near = difflib.get_close_matches(name, OURS, 1, 0.8)
        # Nobody mistypes the first letter and reads on; ICONS is a word of its own.
        if name not in OURS and near and name[0] == near[0][0]:
            yield Warning(
                f"settings.{name} is nearly {near[0]}, and nothing reads it: {OURS[near[0]]}.",
                hint=f"Rename it to {near[0]}.",
                id="crons.W033",
            )


@register(TAG, Tags.compatibility)
@known_good
def check_django_cron() -> Iterator[CheckMessage]:
    """Check that django-cron's app is not installed: its classes need none, and its command runs past the ledger."""
    installed = [config.name for config in apps.get_app_configs()]
    if DJANGO_CRON in installed:
        has = "stands in for it" if CLASSES_COMPAT in installed else "runs its classes through the ledger"
        yield Warning(
            f"django_cron is in INSTALLED_APPS, and {CLASSES_COMPAT} {has}.",
            hint=f"Put {CLASSES_COMPAT!r} first in INSTALLED_APPS, and take {DJANGO_CRON!r} away.",
            id="crons.W038",
        )


def _broken_modules() -> Iterator[CheckMessage]:
    """Refuse where declarations are what the command is for; elsewhere the site and its commands go on."""
    for module, problem in broken_modules().items():
        if must_be_whole() or (is_asked_for() and names_crons(module)):
            yield message(problem)
        else:
            yield Warning(problem.text, hint=problem.hint, id="crons.W070")


def _disagreement(binding: Binding) -> Iterator[CheckMessage]:
    declared = registry.entries[binding.entry]
    try:
        if says(declared.schedule, binding.schedule_text):
            return
        read = parse(binding.schedule_text).text
    except CronsError as error:
        read = f"{binding.schedule_text}, which cannot be read: {error}"
    yield Warning(
        f"{binding.entry} is on two schedules: {declared.schedule.text or 'none'!r} in {declared.source_ref}, "
        f"{read!r} in {binding.ref}.",
        hint="Write the same schedule in both places; the code's decides which slots there are.",
        id="crons.W032",
    )
