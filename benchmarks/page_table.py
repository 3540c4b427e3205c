"""`python -m benchmarks pages` and `plans`: what pages and verbs cost on big ledgers; ends with 1 where too much."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, child, postgres_url, sqlite_url

ROUNDS = 30
MOST_SECONDS = 0.2
# What a request costs whatever the page, the session and the user, is not counted.
MOST_STATEMENTS = 12
SIZES = ((100, 1_000_000), (100_000, 1_000_000))
# So many runs have a tenth more attempts.
PLANS = ((1_000, 10_000_000),)
DATABASES = {"SQLite": sqlite_url, "PostgreSQL": postgres_url}


def main(kind: str) -> int:
    """Measure pages, or look at plans, on both databases; write JSON, and return 1 where a bound is broken."""
    everything, broken = {}, 0
    for entries, runs in PLANS if kind == "plans" else SIZES:
        for database, lend in DATABASES.items():
            print(f"\n{database}, {entries:,} entries, {runs:,} runs", flush=True)
            with lend() as url:
                found = look(url, entries, runs, 0 if kind == "plans" else ROUNDS)
            everything[f"{database}, {entries}, {runs}"] = found
            broken += shown(found)
    target = Path(ROOT / "build")
    target.mkdir(exist_ok=True)
    (target / f"{kind}.json").write_text(json.dumps(everything, indent=2) + "\n")
    return 1 if broken else 0


def look(url: str, entries: int, runs: int, rounds: int) -> dict[str, Any]:
    """Ask for all pages of one database, in a process of their own."""
    with tempfile.TemporaryDirectory(prefix="crons-bench-") as folder:
        project = {
            "DJANGO_SETTINGS_MODULE": "benchmarks.pages_project", "CRM_ENV_FILE": os.devnull, "CRM_DEBUG": "0",
            "CRM_SECRET_KEY": "benchmark-" * 6, "CRM_HTTPS": "0", "CRM_LOG_DIR": folder,
            "CRM_ALLOWED_HOSTS": "testserver",
        }  # fmt: skip
        found: dict[str, Any] = child("pages", str(entries), str(runs), str(rounds), DATABASE_URL=url, **project)
    return found


def shown(found: dict[str, Any]) -> int:
    """Print a line for each page and verb; return how many break a bound."""
    broken = 0
    empty = found.get("the login page", {}).get("cpu_p50", 0)
    if empty:
        print(f"{'':34} {'statements':>10} {'p50':>8} {'p95':>8} {'of login':>8} {'on the wall':>12}")
    for what, figures in found.items():
        is_page = not what.startswith("crons ")
        why = ["reads too much"] if figures["wrong"] else []
        why += ["too many statements"] if is_page and figures["statements"] > MOST_STATEMENTS else []
        why += ["too slow"] if figures.get("cpu_p95", 0) > (MOST_SECONDS if is_page else 1) else []
        times = ""
        if empty:
            p50, p95, wall = (f"{figures[name] * 1000:.0f} ms" for name in ("cpu_p50", "cpu_p95", "wall_p50"))
            times = f"{p50:>8} {p95:>8} {figures['cpu_p50'] / empty:>7.1f}× {wall:>12}"
        print(f"{what:34} {figures['statements']:>10} {times}  {'NOT MET: ' + ', '.join(why) if why else 'met'}")
        for each in figures["wrong"]:
            print(f"    {each}")
        broken += bool(why)
    return broken
