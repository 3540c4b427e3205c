"""A check of what says who may see and do what."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.checks import CheckMessage, Error, Warning, register
from django.db import DatabaseError

from crons.checks.base import TAG, known_good
from crons.conf import conf

HINT = "Pages refuse whatever it cannot say. Let it return True, False, or a Q over Entry such as Q(owner='shop')."


@register(TAG)
@known_good
def check_rights() -> Iterator[CheckMessage]:
    """Check that CRONS["RIGHTS"] answers; it is asked what somebody may see who has not logged in."""
    hook = conf.rights
    if hook is None:
        return
    # Not at the top: a project may have no users, and a tick no pages.
    from django.contrib.auth.models import AnonymousUser

    from crons.web.rights import checked

    about = "CRONS['RIGHTS'], asked about a person who has not logged in and 'crons.view_entry',"
    try:
        answer = hook(AnonymousUser(), "crons.view_entry")
    except DatabaseError:
        return  # before `migrate`, or a database that is away: that is no fault of the hook
    except Exception as error:  # noqa: BLE001 (a project's code may raise anything)
        yield Warning(f"{about} failed: {type(error).__name__}: {error}", hint=HINT, id="crons.W064")
        return
    try:
        checked(answer)
    except Exception as error:  # noqa: BLE001 (so may what it answered, when it is read)
        yield Error(f"{about} did not answer: {error}.", hint=HINT, id="crons.E006")
        return
