"""A notice as HTML for mail: every text escaped, nothing loaded from anywhere, readable without its styles."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from crons.watch.alerts.base import Notice

# Mail programs know no style sheets: the few styles stand on their elements.
COLOURS = {"critical": "#b3261e", "warning": "#8a5a00", "info": "#30506e"}
WELL = "#1d6b3a"
BODY = "font:15px/1.5 system-ui,sans-serif;max-width:44em;margin:0;padding:16px"
LABEL = "padding:2px 16px 2px 0;text-align:left;vertical-align:top;font-weight:600;white-space:nowrap"
PRE = (
    "white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.45 ui-monospace,monospace;"
    "border-left:3px solid {};padding-left:12px"
)


def as_html(notice: Notice, link: str = "") -> SafeString:
    """Return the whole mail; *link* leads to the page of it."""
    is_well = notice.change in ("closed", "test")
    colour = WELL if is_well else COLOURS[notice.severity]
    word = {"closed": "over", "test": "test", "digest": "several", "reminder": "still open"}.get(notice.change)
    facts = format_html_join(
        "", '<tr><th scope="row" style="{}">{}</th><td>{}</td></tr>', ((LABEL, *fact) for fact in notice.all_facts())
    )
    parts = [
        format_html('<p style="margin:0;font-weight:600;color:{}">{}</p>', colour, word or notice.severity),
        format_html('<h1 style="font-size:20px;margin:0 0 12px">{}</h1>', notice.subject),
        format_html('<table style="border-collapse:collapse">{}</table>', facts) if facts else "",
        format_html('<pre style="{}">{}</pre>', PRE.format(colour), notice.text) if notice.text.strip() else "",
        format_html("<p>{}</p>", notice.next_step) if notice.next_step else "",
        format_html('<p><a href="{0}">{0}</a></p>', link) if link else "",
    ]
    return format_html(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        '<title>{}</title></head><body style="{}">{}</body></html>',
        notice.subject,
        BODY,
        SafeString("".join(parts)),
    )
