"""What people do from the admin's lists and rows: each verb asks on a page of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from crons import models
from crons.exceptions import CronsError
from crons.presentation import describe_scope
from crons.web import rights
from crons.web.acts import CANCEL, END, PAUSE, RESUME, RETRY, RUN, Act
from crons.web.admin.base import ReadOnlyAdmin, readable_response

__all__ = ["CANCEL", "END", "MOST", "PAUSE", "RESUME", "RETRY", "RUN", "OperatedAdmin", "in_lists"]

MOST = 100


def in_lists(*acts: Act) -> list[Callable[..., HttpResponse]]:
    """Return *acts* as a list of the admin offers them: to those who may, and asking on a page of its own."""
    return [admin.action(_asking(act), permissions=[act.permission], description=act.title) for act in acts]


class OperatedAdmin(ReadOnlyAdmin):
    """Rows that people do something to, from the list and from the row's own page.

    Of each permission that *acts* name, has_…_permission() says who has it, for any row at all.
    """

    acts: tuple[Act, ...] = ()

    def may_act(self, request: HttpRequest, act: Act, row: Any) -> bool:
        """Say whether this person may do it to *row*; to what holds many entries, who may do it to all of them."""
        permission = f"crons.{act.permission}"
        entry = row.pk if isinstance(row, models.Entry) else row.entry_id
        if entry is None:
            return rights.may_all(request.user, permission)
        return entry in rights.permitted(request.user, permission, [entry])

    def get_urls(self) -> list[URLPattern]:
        """Put a page per verb before Django's own, of which one takes any text for a row's number."""
        site = self.admin_site.admin_view
        mine = [path(f"{act.verb}/", site(partial(self.act_view, act=act)), name=self._page(act)) for act in self.acts]
        return [*mine, *super().get_urls()]

    def permitted(self, request: HttpRequest) -> list[Act]:
        """List the verbs that this person may use."""
        return [act for act in self.acts if getattr(self, f"has_{act.permission}_permission")(request)]

    def buttons(self, request: HttpRequest, row: Any) -> list[tuple[str, str]]:
        """List title and address of the verbs that fit *row*."""
        return [
            (act.title, self.address(act, [row.pk], request.get_full_path()))
            for act in self.permitted(request)
            if act.fits(row) and self.may_act(request, act, row)
        ]

    def address(self, act: Act, ids: list[int], back: str) -> str:
        """Return where *act* asks about the rows *ids*; *back* is where it ends."""
        query = urlencode({"ids": ids, "next": back}, doseq=True)
        return f"{reverse(f'admin:{self._page(act)}', current_app=self.admin_site.name)}?{query}"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Refuse a verb that was not offered, instead of passing over it."""
        if request.method == "POST":
            asked, offered = request.POST.get("action"), [act.verb for act in self.permitted(request)]
            if asked in [act.verb for act in self.acts] and asked not in offered:
                raise PermissionDenied
        return super().changelist_view(request, extra_context)

    def act_view(self, request: HttpRequest, act: Act) -> HttpResponse:
        """Ask, then do it to each row chosen, and say what became of each."""
        if act not in self.permitted(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        back = self._back(request, given.get("next", ""))
        ids = [each for each in given.getlist("ids") if each.isascii() and each.isdecimal() and len(each) < 19]
        rows = list(self.get_queryset(request).filter(pk__in=ids[:MOST]).order_by("pk"))
        if not rows or len(ids) > MOST:
            why = f"more than {MOST} rows were chosen" if ids[MOST:] else "no row was chosen, or it is gone"
            messages.warning(request, f"{act.title}: nothing was done, because {why}.")
            return HttpResponseRedirect(back)
        form = act.form(request.POST if request.method == "POST" else None, initial={"key": uuid.uuid4()})
        if request.method == "POST" and form.is_valid():
            self._do(request, act, rows, form.cleaned_data)
            return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": f"{act.title}?",
            "act": act,
            "rows": [(row.pk, _name_of(row)) for row in rows],
            "form": form,
            "back": back,
        }
        return readable_response(TemplateResponse(request, "admin/crons/confirm.html", context))

    def _do(self, request: HttpRequest, act: Act, rows: list[Any], given: Mapping[str, Any]) -> None:
        done = []
        for row in rows:
            if not self.may_act(request, act, row):
                lacking = f"you lack the permission crons.{act.permission} for it."
                messages.error(request, f"{_name_of(row)}: not {act.done}, because {lacking}")
                continue
            try:
                act.do(row, request.user.get_username(), given)
            except CronsError as error:
                messages.error(request, f"{_name_of(row)}: not {act.done}, because {error}")
            else:
                done.append(_name_of(row))
        if done:
            many = f" ({len(done)} of {len(rows)})" if len(rows) > 1 else ""
            messages.success(request, f"{', '.join(done)}: {act.done}{many}.")

    def _back(self, request: HttpRequest, asked: str) -> str:
        # An address of another site would make this one a springboard.
        if url_has_allowed_host_and_scheme(asked, {request.get_host()}, require_https=request.is_secure()):
            return asked
        model = self.opts.model_name
        return reverse(f"admin:crons_{model}_changelist", current_app=self.admin_site.name)

    def _page(self, act: Act) -> str:
        return f"crons_{self.opts.model_name}_{act.verb}"


def _name_of(row: Any) -> str:
    if isinstance(row, models.Pause):
        return describe_scope(row)
    return f"run {row.pk} of {row.entry.name}" if isinstance(row, models.Run) else str(row)


def _asking(act: Act) -> Callable[..., HttpResponse]:
    def ask(shown_by: OperatedAdmin, request: HttpRequest, queryset: Any) -> HttpResponse:
        # One more than allowed, so that the next page sees that there were too many.
        ids = list(queryset.values_list("pk", flat=True)[: MOST + 1])
        return HttpResponseRedirect(shown_by.address(act, ids, request.get_full_path()))

    ask.__name__ = act.verb  # what a list's form sends
    return ask
