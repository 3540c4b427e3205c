"""Checks of where entries are declared: code, and whatever else is read."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from crons.checks.asking import is_asked_for, must_be_whole, of_declarations
from crons.checks.base import TAG, known_good, message
from crons.exceptions import CronsError, closest
from crons.extensions import extensions
from crons.jobs import registry
from crons.schedules import parse
from crons.sources import sources
from crons.sources.base import Binding, says
from crons.sources.code import CodeSource, broken_modules, names_crons


@register(TAG)
@of_declarations
def check_sources() -> Iterator[CheckMessage]:
    """Check what other sources than code say, and that it is what the code says."""
    yield from _broken_modules()
    readings = [source.read() for source in sources()]
    for source, reading in zip(sources(), readings, strict=True):
        if not isinstance(source, CodeSource):
            yield from map(message, reading.problems)
    for reading in readings:
        for binding in reading.bindings:
            yield from _disagreement(binding)


@register(TAG)
@known_good
def check_spelling() -> Iterator[CheckMessage]:
    """Check that no setting is nearly called what is read."""
    # What nothing reads under a misspelt name, and what is lost by that.
    ours = {"CRONS": "what it says is not heeded"}
    for each in extensions():
        ours.update(each.settings)
    for name in filter(str.isupper, dir(settings)):
        near = closest(name, ours, likeness=0.8)
        # Nobody mistypes the first letter and reads on; ICONS is a word of its own.
        if name not in ours and near and name[0] == near[0]:
            yield Warning(
                f"settings.{name} is nearly {near}, and nothing reads it: {ours[near]}.",
                hint=f"Rename it to {near}.",
                id="crons.W033",
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
