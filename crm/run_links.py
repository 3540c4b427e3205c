"""From what a run has made to the run's page: by its key, which is in the row, and is looked up when somebody asks."""

from django.contrib.admin.views.decorators import staff_member_required
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html

from crons import api
from crons.exceptions import UnknownJob


def run_link(key: str) -> str:
    """Give *key*, with a link to its run where it is one of a run; of an order or nothing it stays what it is."""
    if "@" not in key and "#" not in key:
        return key
    name, mark, rest = key.rpartition("@" if "@" in key else "#")
    # A line may end before the mark: in a list of many columns the whole is too long for one.
    return format_html('<a href="{}">{}<wbr>{}{}</a>', reverse("crm_run", args=[key]), name, mark, rest)


@staff_member_required
def run_of(request: HttpRequest, key: str) -> HttpResponseRedirect:
    """Lead to the page of the run that works under *key*: an entry with its slot, or with a request."""
    name, is_request, request_key = key.rpartition("#")
    given: dict[str, object] = {"request_key": request_key}
    if not is_request:
        name, _, text = key.rpartition("@")
        given = {"slot_at": _moment(text)}
    try:
        run = api.history(name).filter(**given).first()
    except UnknownJob:
        run = None
    if run is None:
        raise Http404(f"No run is known by {key}: it has been pruned, or its entry has another name by now.")
    return redirect("crons:run", run.pk)


def _moment(text: str) -> object:
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Http404(f"{text} is no slot.")
    return moment
