"""`crons alert`."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Mapping
from typing import Any

from crons import api, ledger
from crons.conf import conf
from crons.exceptions import Refused
from crons.management.output import Out
from crons.management.verbs.base import Verb, at_least_one, incident_number, moment, operator
from crons.models import Delivery, Incident
from crons.presentation import iso, utc
from crons.watch import try_channel


class Alert(Verb):
    """What is open, what could not be sent, and whether the channels work."""

    name = "alert"
    help = (
        "List the incidents that are open, and the messages that could not be sent.\n"
        "--test sends a message over each channel, now and without the outbox, and says what came back:\n"
        "exit code 1 where one did not work."
    )
    example = "alert --test --channel chat"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--test", action="store_true", help="Send a test over each channel.")
        what.add_argument("--ack", type=incident_number, metavar="N", help="You have it in hand: no more reminders.")
        what.add_argument("--snooze", type=incident_number, metavar="N", help="Tell nothing of it before --until.")
        parser.add_argument("--channel", metavar="NAME", help="With --test: only this one.")
        parser.add_argument("--until", type=moment, metavar="ISO", help="With --snooze: until when.")
        parser.add_argument("--reason", default="", help="Why; whoever wonders will read it.")
        parser.add_argument("--count", type=at_least_one, default=50, metavar="N", help="How many of each; 50.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        if options["channel"] and not options["test"]:
            raise Refused("--channel is for --test: manage.py crons alert --test --channel NAME")
        if bool(options["until"]) != bool(options["snooze"]):
            raise Refused("--snooze and --until go together: crons alert --snooze 17 --until 2026-10-26T06:00")
        if options["test"]:
            return _test([options["channel"]] if options["channel"] else sorted(conf.alerts.channels), out)
        if options["ack"]:
            done = api.acknowledge(options["ack"], by=operator(), reason=options["reason"])
            _print(done, out)
        elif options["snooze"]:
            done = api.snooze(options["snooze"], until=options["until"], by=operator(), reason=options["reason"])
            _print(done, out)
        else:
            _list(options["count"], out)
        return 0


def _test(names: list[str], out: Out) -> int:
    failed = 0
    for name in names:
        worked, answer = try_channel(name, ledger.database_now(), f"{operator()} on {socket.gethostname()}")
        failed += not worked
        if out.json:
            out.row({"model": "channel", "name": name, "worked": worked, "answer": answer})
        else:
            out.line(f"{name}: {answer}", "good" if worked else "bad")
    return 1 if failed else 0


def _list(count: int, out: Out) -> None:
    rows = Incident.objects.using(conf.database).filter(open_key__isnull=False, closed_at=None)
    found = list(rows.select_related("entry").order_by("-changed_at", "pk")[:count])
    for incident in found:
        _print(incident, out)
    deliveries = Delivery.objects.using(conf.database).filter(failed_at__isnull=False)
    unsent = list(deliveries.order_by("failed_at", "pk")[:count])
    for delivery in unsent:
        _print_unsent(delivery, out)
    if not out.json and not found and not unsent:
        out.line("No incident is open, and every message was sent.", "good")


def _print(incident: Incident, out: Out) -> None:
    entry = incident.entry.name if incident.entry else ""
    if out.json:
        moments = ("opened_at", "changed_at", "acknowledged_at", "snoozed_until")
        out.row(
            {
                "model": "incident",
                "id": incident.pk,
                "rule": incident.rule,
                "entry": entry,
                "summary": incident.summary,
                "count": incident.count,
                "run": incident.run_id,
                **{name: iso(at) if (at := getattr(incident, name)) else None for name in moments},
                "acknowledged_by": incident.acknowledged_by,
            }
        )
        return
    parts = [f"{incident.pk}  {incident.rule}: {f'{entry}: ' if entry else ''}{incident.summary}"]
    parts.append(f"since {utc(incident.opened_at)}")
    if incident.count > 1:
        parts.append(f"{incident.count} times")
    if incident.acknowledged_by:
        why = f" ({incident.acknowledged_reason})" if incident.acknowledged_reason else ""
        parts.append(f"acknowledged by {incident.acknowledged_by}{why}")
    if incident.snoozed_until and incident.snoozed_until > ledger.database_now():
        parts.append(f"sleeps until {utc(incident.snoozed_until)}")
    out.line("; ".join(parts), "warn" if incident.acknowledged_by else "bad")


def _print_unsent(delivery: Delivery, out: Out) -> None:
    again = delivery.next_try_at
    if out.json:
        out.row(
            {
                "model": "delivery",
                "id": delivery.pk,
                "incident": delivery.incident_id,
                "channel": delivery.channel,
                "subject": delivery.subject,
                "state": delivery.state,
                "tries": delivery.tries,
                "error": delivery.error,
                "next_try_at": iso(again) if again else None,
            }
        )
        return
    then = f"next try {utc(again)}" if again else "given up"
    text = f"not sent over {delivery.channel}: {delivery.subject}: {delivery.error}"
    out.line(f"{text}; tried {delivery.tries} times; {then}", "bad")
