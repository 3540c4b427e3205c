"""When a mail may go out: the hour that its reader chose, and quiet hours, on that reader's clock."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings

from crm.digests.models import Recipient


def due_at(recipient: Recipient, ended_at: datetime) -> datetime:
    """Give the first moment from *ended_at* on at which the recipient's hour strikes outside of quiet hours."""
    zone = zone_of(recipient)
    day = ended_at.astimezone(zone).date()
    # A day later for the hour that has passed; one more where clock changes left a day out.
    at = next(
        found for number in range(3) if (found := _strikes(day + timedelta(number), recipient.hour, zone)) >= ended_at
    )
    return quiet_until(recipient, at) or at


def quiet_until(recipient: Recipient, at: datetime) -> datetime | None:
    """Give the end of the quiet hours that *at* lies in, or None."""
    first, last = recipient.quiet_from, recipient.quiet_until
    if first is None or last is None or first == last:
        return None
    local = at.astimezone(zone_of(recipient))
    is_quiet = first <= local.hour < last if first < last else local.hour >= first or local.hour < last
    if not is_quiet:
        return None
    day = local.date() + timedelta(days=1 if first > last and local.hour >= first else 0)
    end = _strikes(day, last, zone_of(recipient))
    # Where clocks go back over the end it has struck already, and the hours repeat: quiet for the second time too.
    return end if end > at else _strikes(day, last, zone_of(recipient), fold=1)


def zone_of(recipient: Recipient) -> ZoneInfo:
    """Give the recipient's zone; that of the business where none is set, or none of that name is known any more."""
    try:
        return ZoneInfo(recipient.zone or settings.TIME_ZONE)
    except (KeyError, ValueError, OSError):
        return ZoneInfo(settings.TIME_ZONE)


def _strikes(day: date, hour: int, zone: ZoneInfo, *, fold: int = 0) -> datetime:
    # In a gap: by the offset before it, which is right after the gap. An hour that is there twice: the first.
    return datetime.combine(day, time(hour, fold=fold), zone).astimezone(UTC)
