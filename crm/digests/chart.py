"""The days before a report's end as a picture: an SVG for pages, heights of bars for mails, which show no SVG."""

from datetime import date
from decimal import Decimal
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from crm.digests.wording import money, plural

WIDTH, HEIGHT, ABOVE, BELOW = 560, 150, 18, 20
_OLD, _NEW = "#b9cbe8", "#1f5fbf"


def heights(days: list[list[Any]], tallest: int) -> list[int]:
    """Give each day's height, of *tallest* for the one with most revenue; a day with any at all can be seen."""
    most = max((Decimal(revenue) for _, _, revenue in days), default=Decimal(0))
    if not most:
        return [0] * len(days)
    return [max(1, int(Decimal(revenue) / most * tallest)) if Decimal(revenue) else 0 for _, _, revenue in days]


def is_of_period(day: str, first_day: str) -> bool:
    """Say whether *day* belongs to the report itself; ISO dates sort as their texts do."""
    return day >= first_day


def svg(data: dict[str, Any]) -> SafeString:
    """Draw revenue by day, those of the report dark; each bar says its figures to who points at it or hears it."""
    days = data["days"]
    step = WIDTH / len(days)
    bars = []
    for number, ((day, orders, revenue), height) in enumerate(zip(days, heights(days, HEIGHT), strict=True)):
        at = date.fromisoformat(day)
        x = number * step
        bars.append(
            (
                f"{at:%A} {at.day} {at:%B}: {money(revenue)}, {plural(orders, 'order')}",
                f"{x + step * 0.14:.1f}",
                ABOVE + HEIGHT - height,
                f"{step * 0.72:.1f}",
                height,
                _NEW if is_of_period(day, data["first_day"]) else _OLD,
                f"{x + step / 2:.1f}",
                ABOVE + HEIGHT + BELOW - 5,
                f"{at:%a}"[:2] if number < len(days) - 1 or data["kind"] == "weekly" else f"{at:%a}",
            )
        )
    most = max(days, key=lambda each: Decimal(each[2]))
    return format_html(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="100%" role="img" aria-label="{}" '
        'style="max-width:{}px">{}<path d="M0 {}H{}" stroke="#8a94a6"/>'
        '<text x="0" y="11" font-size="11" fill="#5b6472" font-family="sans-serif">{}</text></svg>',
        WIDTH,
        ABOVE + HEIGHT + BELOW,
        f"Revenue of the last {len(days)} days",
        WIDTH,
        format_html_join(
            "",
            '<g><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="2" fill="{}"/>'
            '<text x="{}" y="{}" font-size="11" text-anchor="middle" fill="#5b6472" font-family="sans-serif">{}</text>'
            "</g>",
            bars,
        ),
        ABOVE + HEIGHT,
        WIDTH,
        f"Revenue by day, at most {money(most[2])}",
    )
