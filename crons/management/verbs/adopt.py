"""`crons adopt`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from crons.conf import conf
from crons.exceptions import Refused
from crons.ledger import deployment
from crons.management.verbs import Out, Verb, operator
from crons.models import Deployment
from crons.presentation import utc
from crons.side_output import is_terminal


class Adopt(Verb):
    """Move a deployment, knowingly."""

    name = "adopt"
    help = (
        "Let this database fire from here from now on, and no longer from where it was.\n"
        "A copy of production fires nothing until somebody says this. Asks first; --yes does not."
    )
    example = "adopt --yes"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, options: Mapping[str, Any], out: Out) -> int:
        place = deployment.here()
        old = Deployment.objects.using(conf.database).filter(pk=deployment.ONLY).first()
        described = old.described if old else ""
        is_ours = old is not None and old.identity == place.identity
        if not out.json:
            since = f", since {utc(old.adopted_at)}" if old else ""
            out.facts([("belongs to", f"{described or 'nobody yet'}{since}"), ("this is", place.described)])
        if not is_ours:
            if not options["yes"]:
                _ask(out)
            deployment.adopt(operator())
        if out.json:
            out.row(
                {"identity": place.identity, "described": place.described, "was": described, "adopted": not is_ours}
            )
        else:
            out.line("It belongs here already." if is_ours else "Adopted: it fires from here now.", "good")
        return 0


def _ask(out: Out) -> None:
    if out.json or not (out.is_terminal and is_terminal(sys.stdin)):
        raise Refused("adopting needs a yes, and nobody is here to ask: manage.py crons adopt --yes")
    out.text("If the other place still runs, it stops firing. Adopt? [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("not adopted: nothing was changed.")
