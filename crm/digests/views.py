"""Where a reader of mails says which to get: by a signed link, without a login, and with one click to get none."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from crm.digests import links, suppression
from crm.digests.models import Recipient, SuppressedAddress
from crm.models import Customer

SAVE = "save"


class PreferencesForm(forms.ModelForm):  # type: ignore[type-arg]  # at run time it takes no argument
    """How often, when, and when not."""

    class Meta:
        model = Recipient
        fields = ["frequency", "hour", "zone", "quiet_from", "quiet_until", "also_empty"]


@csrf_exempt  # mail clients post without cookies (RFC 8058), and the link itself is the proof
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest, token: str) -> HttpResponse:
    """Show what the link's reader gets; a POST ends it at once, or saves what the form says.

    GET changes nothing: scanners of mails follow each link.
    """
    reader = links.read(token)
    if reader is None:
        return HttpResponseNotFound("This link is not one of ours, or not all of it came.", content_type="text/plain")
    answer = _recipient(request, reader) if reader.kind == links.RECIPIENT else _customer(request, reader)
    # The address is a key: no other site is to read it.
    answer["Referrer-Policy"] = "no-referrer"
    answer["X-Robots-Tag"] = "noindex"
    return answer


def _recipient(request: HttpRequest, reader: links.Reader) -> HttpResponse:
    recipient = Recipient.objects.filter(pk=reader.number).first()
    if recipient is None:
        return _page(request, done="You get no reports any more.")
    if request.method != "POST":
        return _page(request, what="reports", form=PreferencesForm(instance=recipient))
    if SAVE not in request.POST:
        _turn_off(recipient)
        return _page(request, done="You are unsubscribed: no more reports.", form=PreferencesForm(instance=recipient))
    form = PreferencesForm(request.POST, instance=recipient)
    if not form.is_valid():
        return _page(request, what="reports", form=form, status=400)
    if recipient.frequency == Recipient.Frequency.OFF:
        _turn_off(recipient)
    else:
        recipient.unsubscribed_at = None
    form.save()
    return _page(request, done="Saved.", what="reports", form=PreferencesForm(instance=recipient))


def _customer(request: HttpRequest, reader: links.Reader) -> HttpResponse:
    customer = Customer.objects.filter(pk=reader.number).first()
    if request.method != "POST" and customer is not None:
        return _page(request, what="reminders")
    if customer is not None:
        kind = SuppressedAddress.Kind.REMINDER
        suppression.suppress(customer.email, kind, "unsubscribed by the customer", now=timezone.now())
    return _page(request, done="You are unsubscribed: no more reminders.")


def _turn_off(recipient: Recipient) -> None:
    recipient.frequency = Recipient.Frequency.OFF
    recipient.unsubscribed_at = recipient.unsubscribed_at or timezone.now()
    recipient.save(update_fields=["frequency", "unsubscribed_at"])


def _page(request: HttpRequest, *, status: int = 200, **shown: Any) -> HttpResponse:
    return render(request, "crm/digests/preferences.html", shown, status=status)
