"""What people do to a pause from the first page: end it, and no other."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from crons.conf import conf
from crons.exceptions import Refused
from crons.models import Pause
from crons.presentation import describe_scope, readable_line
from crons.web import rights, shell
from crons.web.acts import END, stamp_of_pause

ACT = f"crons.{END.permission}"


@shell.action(ACT)
def resume(request: HttpRequest, number: str) -> HttpResponse:
    """End one pause: of an entry, of a tag, or of everything."""
    # The largest number of a row has 19 digits.
    known = int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else 0
    rows = rights.visible(request.user, Pause.objects.using(conf.database))
    row = rows.filter(pk=known).select_related("entry").first()
    if row is not None and (refused := _refusal(request, row)):
        return refused

    def do() -> str:
        if row is None:
            raise Refused("this pause is over: it ended by itself, or somebody resumed it.")
        if (seen := request.POST.get("seen", "")) and seen != stamp_of_pause(row):
            raise Refused("somebody has paused it anew since the page was made. See whether you still want it.")
        END.do(row, request.user.get_username(), {"reason": shell.reason_of(request, is_needed=False)})
        return f"{readable_line(describe_scope(row))}: resumed."

    return shell.act(request, do, shell.back_to(request, reverse("crons:home")))


def _refusal(request: HttpRequest, row: Pause) -> HttpResponse | None:
    if row.entry is not None:
        return shell.refusal_of(request, ACT, row.entry)
    if rights.may_all(request.user, ACT):
        return None
    lacking = f"Your account lacks the permission {ACT} for all entries, and this pause holds more than one."
    return shell.render(request, "refused", {"lacking": lacking, "needed": [ACT]}, 403)
