"""Endpoints and deliveries in the admin; a secret is shown on a page of its own, to who asks for it."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.cache import never_cache

from crm.admin_bases import PlainAdmin, ReadOnlyAdmin, TabularInline, moment_shown
from crm.webhooks import endpoints, events, signing
from crm.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint

# Long after any transaction that chose it before it was disabled.
_IDLE_AFTER = timedelta(hours=1)

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[WebhookEndpoint]
else:
    ModelForm = forms.ModelForm


class EndpointForm(ModelForm):
    """What an endpoint is, judged by the same rules as elsewhere."""

    events = forms.MultipleChoiceField(
        choices=[(name, f"{name}: {text}") for name, text in events.TYPES.items()],
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("customer", "url", "contact", "events")

    def clean_url(self) -> str:
        """Refuse what could not be posted to."""
        url: str = self.cleaned_data["url"]
        if problems := endpoints.problems_of_url(url):
            raise ValidationError([each.message for each in problems])
        return url


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(PlainAdmin):
    form = EndpointForm
    list_display = ["customer", "host", "events_shown", "state", "tried", "log"]
    search_fields = ["customer", "contact"]
    search_help_text = "Customer of the API, or contact"
    readonly_fields = ("state", "created_at", "tried_at", "log")
    actions = ["show_secret", "rotate_secret", "send_test", "disable", "enable"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        given_up = WebhookDelivery.objects.filter(endpoint=OuterRef("pk"), state="given_up").order_by()
        rows: QuerySet[WebhookEndpoint] = super().get_queryset(request)
        return rows.annotate(_has_given_up=Exists(given_up))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer no deletion of many: of each, has_delete_permission says whether it may go."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Say no of one that somebody may just be writing a delivery for: his order would fail with it."""
        if isinstance(obj, WebhookEndpoint) and not (
            obj.disabled_at and timezone.now() - obj.disabled_at > _IDLE_AFTER
        ):
            return False
        return bool(super().has_delete_permission(request, obj))

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        if not change:
            obj.created_at = timezone.now()
            super().save_model(request, obj, form, change)
            signing.give_secret(obj, now=obj.created_at)
            text = "Its secret is shown by the action 'Show the secret'. Hand it to the customer by a safe way."
            self.message_user(request, text, messages.INFO)
        else:
            # What the job writes meanwhile stays as it is.
            obj.save(update_fields=form.changed_data)

    @admin.action(description="Show the secret", permissions=["change"])
    def show_secret(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        endpoint = self._only(request, queryset)
        if endpoint is None:
            return None
        try:
            secret = signing.secret_of(endpoint)
        except signing.NoSecret as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        self.log_change(request, endpoint, "Looked at its secret.")
        return self._secret_page(request, endpoint, secret, "")

    @admin.action(description="Rotate the secret: both sign for a day", permissions=["change"])
    def rotate_secret(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
        endpoint = self._only(request, queryset)
        if endpoint is None:
            return None
        now = timezone.now()
        secret = signing.give_secret(endpoint, now=now)
        self.log_change(request, endpoint, "Rotated its secret.")
        until = moment_shown(now + signing.ROTATES_FOR)
        return self._secret_page(request, endpoint, secret, f"The one before it signs as well until {until}.")

    @admin.action(description="Send a test event", permissions=["change"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset.filter(disabled_at=None):
            event = events.emit_test(endpoint, now=timezone.now())
            self.message_user(request, f"{endpoint}: {event.uid} is sent within a minute.", messages.SUCCESS)
        if disabled := queryset.exclude(disabled_at=None).count():
            self.message_user(request, f"{disabled} are disabled: enable them first.", messages.WARNING)

    @admin.action(description="Disable: send nothing more", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            if endpoints.disable(endpoint.pk, endpoints.BY_HAND, now=timezone.now()):
                self.log_change(request, endpoint, "Disabled.")
                text = f"{endpoint} is disabled: what happens from now on is not kept for it."
                self.message_user(request, text, messages.WARNING)

    @admin.action(description="Enable, or try at once", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            if endpoints.enable(endpoint.pk):
                self.log_change(request, endpoint, "Enabled.")
                self.message_user(request, f"{endpoint}: what waits is sent within a minute.", messages.SUCCESS)

    @admin.display(description="events")
    def events_shown(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.events)

    @admin.display(description="state")
    def state(self, endpoint: WebhookEndpoint) -> str:
        return endpoints.state_of(endpoint, timezone.now()) if endpoint.pk else "-"

    @admin.display(description="last tried", ordering="tried_at")
    def tried(self, endpoint: WebhookEndpoint) -> str:
        return moment_shown(endpoint.tried_at) if endpoint.tried_at else "never"

    @admin.display(description="log")
    def log(self, endpoint: Any) -> str:
        if not endpoint.pk:
            return "-"
        url = reverse("admin:crm_webhookdelivery_changelist")
        link = format_html('<a href="{}?endpoint__id__exact={}">deliveries</a>', url, endpoint.pk)
        if not endpoint._has_given_up:
            return link
        given_up = "endpoint__id__exact={}&state__exact=given_up"
        return format_html('{}, <a href="{}?' + given_up + '">some given up</a>', link, url, endpoint.pk)

    def _only(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> WebhookEndpoint | None:
        chosen = list(queryset[:2])
        if len(chosen) == 1:
            return chosen[0]
        self.message_user(request, "Choose one endpoint: a secret is for one customer's eyes.", messages.ERROR)
        return None

    def _secret_page(self, request: HttpRequest, endpoint: WebhookEndpoint, secret: str, note: str) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "endpoint": endpoint, "secret": secret, "note": note}
        context |= {"title": f"Secret of {endpoint}", "opts": self.model._meta}
        page: Any = never_cache(lambda _: TemplateResponse(request, "admin/crm/webhookendpoint/secret.html", context))
        response: HttpResponse = page(request)
        return response


class AttemptInline(TabularInline):
    model = WebhookAttempt
    fields = readonly_fields = ("number", "when", "status", "error", "milliseconds", "answer", "run_link")
    verbose_name_plural = "tries"
    can_delete = False
    extra = max_num = 0

    @admin.display(description="when")
    def when(self, attempt: WebhookAttempt) -> str:
        return f"{timezone.localtime(attempt.at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="run")
    def run_link(self, attempt: WebhookAttempt) -> str:
        if attempt.run is None:
            return "-"
        return format_html('<a href="{}">run {}</a>', reverse("crons:run", args=[attempt.run]), attempt.run)


class TypeFilter(admin.SimpleListFilter):
    """By the types that there are: to find those of a million rows would take longer than the page."""

    title = "event"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(each, each) for each in (*events.TYPES, events.TEST)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(event__type=self.value()) if self.value() else queryset


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ["event_shown", "happened", "to", "state", "tries", "detail", "next_try"]
    list_display_links = ["event_shown"]
    list_filter = ["state", TypeFilter, "endpoint"]
    list_select_related = ["event", "endpoint"]
    search_fields = ["=event__uid", "=event__subject"]
    search_help_text = "An event's whole id, or what it is about, such as order-17"
    show_full_result_count = False
    fields = readonly_fields = (
        "event_shown", "event_id_shown", "happened", "to", "state", "tries", "detail", "next_try", "ended_at", "body",
    )  # fmt: skip
    inlines = [AttemptInline]
    actions = ["replay"]

    @admin.action(description="Send again: one, or all that a filter shows", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        told = list(WebhookEndpoint.objects.filter(pk__in=queryset.order_by().values("endpoint")))
        count = endpoints.replay(queryset, now=timezone.now())
        self.message_user(request, f"{count} are sent again within a minute, with the ids that they had.")
        for endpoint in told:
            self.log_change(request, endpoint, "Had deliveries sent again.")
            if endpoint.disabled_at:
                text = f"{endpoint} is disabled: what is for it waits until it is enabled."
                self.message_user(request, text, messages.WARNING)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("crm.change_webhookdelivery"))

    @admin.display(description="event", ordering="event__type")
    def event_shown(self, delivery: WebhookDelivery) -> str:
        return str(delivery.event)

    @admin.display(description="id")
    def event_id_shown(self, delivery: WebhookDelivery) -> str:
        return delivery.event.uid

    @admin.display(description="happened", ordering="event__created_at")
    def happened(self, delivery: WebhookDelivery) -> str:
        return moment_shown(delivery.event.created_at)

    @admin.display(description="to", ordering="endpoint__customer")
    def to(self, delivery: WebhookDelivery) -> str:
        return str(delivery.endpoint)

    @admin.display(description="next try", ordering="next_try_at")
    def next_try(self, delivery: WebhookDelivery) -> str:
        return moment_shown(delivery.next_try_at) if delivery.next_try_at else "-"

    @admin.display(description="what is posted")
    def body(self, delivery: WebhookDelivery) -> str:
        return format_html("<pre>{}</pre>", events.payload(delivery.event))
