"""The page of one run: what became of it, what it wrote, as it writes it; and the two things that people do to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.loader import render_to_string
from django.urls import reverse

from crons import api
from crons.exceptions import Refused
from crons.models import Attempt, Run
from crons.presentation import describe_given, describe_second, local, readable, readable_line, readable_page, words
from crons.web import output, rights, runs, shell
from crons.web.acts import stamp_of
from crons.web.ansi import coloured

# What a job wrote may hold more than its verdict: customers, say.
READS_OUTPUT = "crons.view_attempt"
# What a page that follows a job holds at most; then it begins anew with the end.
FOLLOWED_CHARACTERS = 400_000


def of_output(view: Callable[[HttpRequest, Run, Attempt], HttpResponse]) -> Callable[..., HttpResponse]:
    """Make a page of what an attempt wrote, ?attempt= or the newest: its view gets the run and the attempt."""

    @shell.page(*shell.NEEDED, READS_OUTPUT)
    @wraps(view)
    def shown(request: HttpRequest, number: str) -> HttpResponse:
        row = runs.run_of(number, request.user)
        if refused := shell.refusal_of(request, READS_OUTPUT, row.entry):
            return refused
        return view(request, row, runs.attempt_of(row, request.GET.get("attempt", "")))

    return shown


@shell.page()
def run(request: HttpRequest, number: str) -> HttpResponse:
    """Show one run."""
    row = runs.run_of(number, request.user)
    seen = runs.look(row)
    acts = ("cancel_run", "retry_run", "view_attempt")
    rights.permitted_each(request.user, [f"crons.{name}" for name in acts], [row.entry_id])  # in one statement
    may = {name: rights.may(request.user, f"crons.{name}", row.entry) for name in acts}
    told: dict[str, Any] = {
        "seen": seen, "run": row, "may": may, "headline": runs.headline(row), "zone": row.entry.zone,
        "given": describe_given(row), "second": describe_second(row), "stamp": stamp_of(row),
    }  # fmt: skip
    if may["view_attempt"] and seen.last is not None:
        told |= _tail(row, seen.last)
        told["error"] = readable(seen.failed.error)[-20_000:] if seen.failed else ""
    return shell.render(request, "run", told)


@of_output
def tail(request: HttpRequest, row: Run, attempt: Attempt) -> HttpResponse:
    """Answer what an attempt wrote since ?after=, as a part of the page that follows it."""
    after, shown = _number(request, "after", -1), _number(request, "shown", 0)
    if shown > FOLLOWED_CHARACTERS:
        part = HttpResponse(_part("crons/output_whole.html", _tail(row, attempt)))
        part["HX-Retarget"], part["HX-Reswap"] = "#output", "outerHTML"
        return part
    written = output.page(attempt, after + 1)
    if not written.raw and not attempt.outcome:
        return HttpResponse(status=204)
    told = _shown(row, attempt, written, request.GET.get("sgr", ""), shown, after)
    return HttpResponse(_part("crons/output_part.html", told))


@of_output
def written(request: HttpRequest, row: Run, attempt: Attempt) -> HttpResponse:
    """Show a page of what an attempt wrote, from ?from= on; or the lines in which ?find= stands."""
    start, text = max(_number(request, "from", 0), 0), request.GET.get("find", "").strip()[:200]
    told: dict[str, Any] = {"run": row, "attempt": attempt, "start": start, "text": text, "zone": row.entry.zone}
    if text:
        told["found"] = output.search(attempt, text, start)
        told["more"] = urlencode({"attempt": attempt.number, "find": text, "from": told["found"].next_start or 0})
        return shell.render(request, "output", told)
    page = output.page(attempt, start)
    told |= {"written": page, "pieces": _coloured(page)[0]}
    return shell.render(request, "output", told)


@of_output
def download(request: HttpRequest, row: Run, attempt: Attempt) -> HttpResponse:
    """Send all that an attempt wrote, as plain text."""
    # Read while it is sent: a hundred megabytes never lie in memory.
    sent: Any = StreamingHttpResponse(output.whole(attempt), content_type="text/plain; charset=utf-8")
    name = f"run-{row.pk}-attempt-{attempt.number}.txt"
    sent["Content-Disposition"] = f'attachment; filename="{name}"'
    sent["X-Content-Type-Options"] = "nosniff"
    sent["Content-Security-Policy"] = shell.policy()
    return sent  # type: ignore[no-any-return] # a streaming response is one to Django's views


@shell.action("crons.cancel_run")
def cancel(request: HttpRequest, number: str) -> HttpResponse:
    """Ask for a run to be stopped."""
    row = runs.run_of(number, request.user)

    if refused := shell.refusal_of(request, "crons.cancel_run", row.entry):
        return refused

    def do() -> str:
        reason = shell.reason_of(request)
        try:
            api.cancel(row.pk, by=request.user.get_username(), reason=reason)
        except Refused as refused:
            raise Refused(f"{refused} {_meanwhile(row, request.user)}") from refused
        return f"Run {row.pk} of {readable_line(row.entry.name)}: asked to stop."

    return shell.act(request, do, shell.back_to(request, _page(row)))


@shell.action("crons.retry_run")
def retry(request: HttpRequest, number: str) -> HttpResponse:
    """Open a run for another try, unless more has become of it than the page showed."""
    row = runs.run_of(number, request.user)

    if refused := shell.refusal_of(request, "crons.retry_run", row.entry):
        return refused

    def do() -> str:
        reason = shell.reason_of(request, is_needed=False)
        seen = request.POST.get("seen", "")
        if seen and seen != stamp_of(row):
            raise Refused(f"more has become of run {row.pk} since this page was shown. {_meanwhile(row, request.user)}")
        api.retry(row.pk, by=request.user.get_username(), reason=reason)
        return f"Run {row.pk} of {readable_line(row.entry.name)}: opened for another try."

    return shell.act(request, do, shell.back_to(request, _page(row)))


def _meanwhile(row: Run, user: Any) -> str:
    """Say how a run stands now, and what people did to it last."""
    seen = runs.look(runs.run_of(str(row.pk), user))
    told = f"Now it is: {runs.headline(seen.run)}."
    if seen.events:
        event = seen.events[0]
        why = f" ({readable_line(event.reason)})" if event.reason else ""
        at = local(event.at, row.entry.zone)
        told += f" The last that was asked of it: {words(event.verb)}, by {readable_line(event.actor)} at {at}{why}."
    return told


def _page(row: Run) -> str:
    return reverse("crons:run", args=[row.pk])


def _tail(row: Run, attempt: Attempt) -> dict[str, Any]:
    found = output.tail(attempt)
    return {**_shown(row, attempt, found, "", 0, -1), "written": found}


def _shown(row: Run, attempt: Attempt, page: output.Written, sgr: str, shown: int, after: int) -> dict[str, Any]:
    pieces, sgr = _coloured(page, sgr)
    size = shown + sum(len(text) for _, text in page.raw)
    asked = {"attempt": attempt.number, "after": max(page.last, after), "sgr": sgr, "shown": size}
    # What was written last may come with the outcome: so it is asked once more after that.
    is_going = not attempt.outcome or page.next_start is not None
    return {"run": row, "attempt": attempt, "pieces": pieces, "follow": urlencode(asked) if is_going else ""}


def _coloured(page: output.Written, sgr: str = "") -> tuple[list[tuple[str, Any]], str]:
    pieces = []
    for stream, text in page.raw:
        html, sgr = coloured(text, sgr)
        pieces.append((stream, html))
    return pieces, sgr


def _part(template: str, told: dict[str, Any]) -> str:
    return readable_page(render_to_string(template, told))


def _number(request: HttpRequest, name: str, otherwise: int) -> int:
    given = request.GET.get(name, "")
    return int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else otherwise
