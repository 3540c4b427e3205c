"""A report as text and as HTML: from its data alone, so that it looks the same whenever it is shown."""

from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from crm.digests import automation, chart
from crm.digests.wording import change, money, plural, title
from crm.plain_text import one_line

BAR_HEIGHT = 56
_BEFORE = {"daily": "the day before", "weekly": "the week before"}
_WELL = "succeeded"


def subject(data: dict[str, Any]) -> str:
    """Say the most important of it in one line."""
    return f"{title(data)}: {money(data['shop']['revenue'])} from {plural(data['shop']['orders'], 'order')}"


def text(data: dict[str, Any], *, below: str = "") -> str:
    """Give the report as plain text, with *below* at its end."""
    return render_to_string("crm/digests/report.txt", {**shown(data), "below": below})


def html(data: dict[str, Any], *, below: SafeString | str = "", link: str = "") -> str:
    """Give the report as a mail's HTML: tables and styles inside, nothing from elsewhere; *link* leads to its page."""
    return render_to_string("crm/digests/report.html", {**shown(data), "below": below, "link": link})


def page(data: dict[str, Any]) -> SafeString:
    """Give the report as a part of a page, with the chart as SVG."""
    return SafeString(render_to_string("crm/digests/figures.html", {**shown(data), "svg": chart.svg(data)}))


def shown(data: dict[str, Any]) -> dict[str, Any]:
    """Give what the templates show: texts only, for they are not to round or translate anything."""
    shop, then, before = data["shop"], data["before"], _BEFORE[data["kind"]]
    runs = data["automation"]
    tallest = chart.heights(data["days"], BAR_HEIGHT)
    return {
        "title": title(data),
        "kind": data["kind"],
        "zone": data["zone"],
        "subject": subject(data),
        "revenue": money(shop["revenue"]),
        "revenue_change": change(shop["revenue"], then["revenue"], before),
        "tiles": [
            ("Orders", f"{shop['orders']:,}", change(shop["orders"], then["orders"], before)),
            ("Average order", money(shop["average"]), change(shop["average"], then["average"], before)),
            (
                "New customers",
                f"{shop['new_customers']:,}",
                change(shop["new_customers"], then["new_customers"], before),
            ),
        ],
        "bars": [
            (_day(day), height, BAR_HEIGHT - height, chart.is_of_period(day, data["first_day"]))
            for (day, _, _), height in zip(data["days"], tallest, strict=True)
        ],
        "bars_summary": _summary(data["days"]),
        "statuses": [(status, f"{number:,}") for status, number in shop["by_status"]],
        "products": [
            (one_line(each["name"]), f"{each['sold']:,}", money(each["revenue"])) for each in data["top_products"]
        ],
        "low": [(one_line(name), f"{stock:,}") for name, stock in data["low_stock"]["lowest"]],
        "low_title": _low_title(data["low_stock"]),
        "automation": _automation(runs),
        "is_troubled": automation.is_troubled(runs),
        "failing": [(name, f"{number:,}") for name, number in runs["failing"]],
        "mails": [f"{count:,} {what}" for what, count in runs.get("mails", [])],
    }


def _day(day: str) -> str:
    return str(int(day[-2:]))


def _summary(days: list[list[Any]]) -> str:
    best = max(days, key=lambda each: (float(each[2]), each[0]))
    return f"the best of {len(days)} days was {best[0]} with {money(best[2])}"


def _low_title(low: dict[str, Any]) -> str:
    if not low["count"]:
        return f"No product has a stock below {low['below']}"
    return f"{plural(low['count'], 'product')} with a stock below {low['below']}"


def _automation(runs: dict[str, Any]) -> str:
    """Say in a sentence how the scheduled jobs did."""
    verdicts = dict(runs["verdicts"])
    all_of_them = sum(verdicts.values())
    if not all_of_them:
        return "No scheduled job was due."
    others = ", ".join(
        f"{count:,} {verdict.replace('_', ' ')}" for verdict, count in runs["verdicts"] if verdict != _WELL
    )
    if not others:
        return f"All {plural(all_of_them, 'run')} of scheduled jobs succeeded."
    return f"Of {plural(all_of_them, 'run')} of scheduled jobs {verdicts.get(_WELL, 0):,} succeeded; {others}."
