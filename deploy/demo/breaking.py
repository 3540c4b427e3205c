"""Something real to break, and to mend again: `make demo-break`, `make demo-mend`; docs/tour.md walks through it.

The jobs' token is revoked, as somebody does who tidies up and does not know who uses it. Then the colleague whose
stock has not moved runs `update_low_stock` by hand, so that it shows at once and not at noon.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COLLEAGUE, JOB = "dana", "update_low_stock"


def break_it() -> str:
    """Revoke the token that the jobs use, and have one of them run; say what to look at."""
    from django.utils import timezone

    from crm import tokens
    from crm.api_client import ApiFailed, jobs_token
    from crons import api

    if problem := no_demo():
        return problem
    try:
        row = tokens.authenticate(jobs_token(), now=timezone.now())
    except (ApiFailed, tokens.InvalidToken):
        return "It is broken already. Find out what is wrong on the first page; `make demo-mend` mends it."
    tokens.revoke(row.prefix)
    api.run_now(JOB, by=COLLEAGUE, reason="the shelves are empty")
    return "Something is broken now. In a moment the first page says so: /crons/. docs/tour.md goes along."


def mend() -> str:
    """Give the jobs a token that opens, and have what failed run once more."""
    from django.conf import settings
    from django.utils import timezone

    from crm import token_files
    from crons import api

    if problem := no_demo():
        return problem
    row = token_files.ensure_for_jobs(Path(settings.CRM_TOKEN_FILE), now=timezone.now())
    if row is None:
        return "The jobs' token is good: nothing was mended."
    api.run_now(JOB, by=COLLEAGUE, reason="after the token was renewed")
    return f"Issued {row} for the jobs, and asked for a run of {JOB}. Its incident closes when that has succeeded."


def no_demo() -> str:
    """Say why nothing is touched here; empty in a demo: in another shop a revoked token is no joke."""
    from django.db import Error

    from crons.models import AuditEvent

    try:
        is_demo = AuditEvent.objects.filter(verb="demo.made", subject_type="demo").exists()
    except Error:  # no database yet, or no tables
        is_demo = False
    return "" if is_demo else "There is no demo here, so nothing was touched: make run, without PAST=0, makes one."


def main() -> int:
    """Do what the command line says, in the demo's settings."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "crm.settings")
    os.environ.setdefault("CRM_DEBUG", "1")
    import django

    django.setup()
    acts = {"break": break_it, "mend": mend}
    if len(sys.argv) != 2 or sys.argv[1] not in acts:
        print("Expected: break or mend", file=sys.stderr)
        return 2
    print(acts[sys.argv[1]]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
