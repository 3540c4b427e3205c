"""Lists that stay fast at a million rows, and pages that are looked at only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from crons.conf import conf
from crons.models import Entry
from crons.presentation import Cell, readable_page
from crons.web import rights

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Model]
    Pages = Paginator[Model]
else:
    Base = admin.ModelAdmin
    Pages = Paginator

PAGED = 1_000
ENTRIES_FOUND = 20
WINDOWS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}


class CappedPaginator(Pages):
    """Counts no further than PAGED: to count a million rows takes longer than to show fifty."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, PAGED at most."""
        rows: QuerySet[Model] = self.object_list  # type: ignore[assignment] # a changelist pages through nothing else
        return rows[:PAGED].count()

    @property
    def is_capped(self) -> bool:
        """Whether there may be more."""
        return self.count == PAGED


class ReadOnlyAdmin(Base):
    """Rows are the ledger's to write: one changed by hand would make its promises untrue."""

    paginator = CappedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each count would read all rows
    sortable_by = ()  # what no index orders would have to be read whole
    # Not joined but read after: SQLite begins a join with the few entries, and then reads all their runs.
    named_after: tuple[str, ...] = ()
    change_list_template = "admin/crons/change_list.html"

    class Media:
        css = {"all": ["crons/admin.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.may(request, self.viewing)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to narrow by a column that no filter offers.

        Django takes any: whoever asks often enough for ?args__contains=… reads what no page shows.
        """
        column = lookup.split("__")[0]
        offered = column in self.get_list_filter(request) or column not in _columns(self.model)
        return offered and super().lookup_allowed(lookup, value, request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list; no recorded text in it deceives who reads it."""
        if any("\0" in text for texts in request.GET.lists() for text in texts[1]):
            raise BadRequest("An address with a NUL in it: PostgreSQL has no such text to compare with.")
        return readable_response(super().changelist_view(request, extra_context))

    def changeform_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the row, the same way."""
        return readable_response(super().changeform_view(*args, **kwargs))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        """Read where the ledger is, and what this person may see, with what each row is named after."""
        rows = super().get_queryset(request).using(conf.database).prefetch_related(*self.named_after)
        return may_see(request, rows, self.viewing)

    def may(self, request: HttpRequest, permission: str, entry: Entry | None = None) -> bool:
        """Say whether this person may do what *permission* is for, to *entry*; without one, to any at all."""
        return rights.may(request.user, permission, entry)

    @property
    def viewing(self) -> str:
        """The permission to look at these rows."""
        return f"crons.view_{self.opts.model_name}"


class EntryRowsAdmin(ReadOnlyAdmin):
    """Rows that belong to entries: searched by an entry's name, or by their own number."""

    named_after = ("entry",)
    search_fields = ("entry",)
    search_help_text = "The name of an entry, or the number of a row"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        """Find entries first, of which there are few; their rows are then read along an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.isascii() and term.isdecimal():
            # No row has a number of 20 digits, and Python reads none of 5,000.
            return self.get_queryset(request).filter(pk=term[:20]), False
        return self.of_entries(queryset, _entries_like(term, request.user, self.viewing)), False

    def of_entries(self, queryset: QuerySet[Any], entries: list[int]) -> QuerySet[Any]:
        """Keep the rows of *entries*, by their numbers."""
        return queryset.filter(entry__in=entries)


class DetailAdmin(ReadOnlyAdmin):
    """A page of our own for one row, in words, instead of a form that nobody may send."""

    detail_template = ""

    def details(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the page's template says of *row*; *title* among it."""
        raise NotImplementedError

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one row to those who may look; nothing can be sent here."""
        if not self.has_view_permission(request) or request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            response: HttpResponse = self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined]
                request, self.opts, object_id
            )
            return response
        context = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, "row": row}
        request.current_app = self.admin_site.name
        facts = {**context, **self.details(request, row), **(extra_context or {})}
        return readable_response(TemplateResponse(request, self.detail_template, facts))


class WhenFilter(admin.SimpleListFilter):
    """How far back a list goes: a week by default, or a filter would read years to find nothing."""

    title = "when"
    parameter_name = "within"
    column = "planned_at"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer lengths."""
        return [("day", "The last 24 hours"), ("week", "The last 7 days"), ("month", "The last 31 days")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Show the default as chosen."""
        chosen = self.value() or "week"
        for value, title in [*self.lookup_choices, ("ever", "Any time")]:
            query = changelist.get_query_string({self.parameter_name: value})
            yield {"selected": chosen == str(value), "query_string": query, "display": title}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Leave out what is older."""
        if self.value() == "ever":
            return queryset
        since = timezone.now() - WINDOWS.get(self.value() or "week", WINDOWS["week"])
        return queryset.filter(**{f"{self.column}__gte": since})


def may_see(request: HttpRequest, rows: QuerySet[Any], permission: str) -> QuerySet[Any]:
    """Keep of *rows* those for whose entry this person has *permission*."""
    return rights.visible(request.user, rows, permission)


def among(queryset: QuerySet[Any], few: QuerySet[Any]) -> QuerySet[Any]:
    """Keep of *queryset* the rows that are among the *few*, PAGED of them at most.

    Their numbers are read first: asked in one, a planner that sees only averages may walk all rows in their order.
    """
    return queryset.filter(pk__in=list(few.values_list("pk", flat=True)[:PAGED]))


def readable_response(response: HttpResponse) -> HttpResponse:
    """Have � stand in the page for what would deceive its readers, whichever column it comes from."""
    if isinstance(response, TemplateResponse):
        response.add_post_render_callback(_replace_unseen)
    return response


def _replace_unseen(response: Any) -> None:
    response.content = readable_page(response.content.decode())


def cell_html(cell: Cell) -> SafeString:
    """Write a cell with a mark of its tone."""
    if not cell.tone:
        return format_html("{}", cell.text)
    return format_html('<span class="crons-said {}">{}</span>', cell.tone, cell.text)


def _columns(model: type[Model]) -> set[str]:
    return {"pk"} | {each.name for each in model._meta.get_fields()}


def _entries_like(term: str, user: Any, permission: str) -> list[int]:
    entries = rights.visible(user, Entry.objects.using(conf.database).order_by("name"), permission)
    exact = list(entries.filter(name=term).values_list("pk", flat=True))
    return exact or list(entries.filter(name__icontains=term).values_list("pk", flat=True)[:ENTRIES_FOUND])
