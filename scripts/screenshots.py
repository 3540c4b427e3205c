"""Take the pictures in docs/screenshots anew: a server of its own, made-up rows, a clock that stands still.

Needs Debian's chromium. Nothing of this machine's database or clock is in the pictures.
"""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import picture_rows

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "screenshots"
LARGEST_BYTES = 200_000
WIDE, NARROW, MAIL = 1200, 390, 720
TALLEST = {WIDE: 920, NARROW: 1400, MAIL: 1000}
# Grey edges of letters instead of coloured ones: half the bytes.
PLAIN = ["--no-sandbox", "--disable-lcd-text", "--font-render-hinting=none", "--hide-scrollbars"]


def main(wanted: Sequence[str] = ()) -> int:
    """Fill, look, keep, all pictures or those named in *wanted*; end 1 where a picture is too large."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        from playwright.sync_api import sync_playwright

        server = serve()
        # Django refuses its database in a thread that has an event loop, as playwright's has.
        with ThreadPoolExecutor(max_workers=1) as rows, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=PLAIN)
            address = f"http://127.0.0.1:{server.server_port}"
            cookies = [{"name": "sessionid", "value": rows.submit(log_in).result(), "url": address}]
            for fill, pictures in SCENES:
                if wanted and not {name for name, *_ in pictures}.intersection(wanted):
                    continue
                known = rows.submit(fill).result()
                for name, path, width, scheme in pictures:
                    if wanted and name not in wanted:
                        continue
                    context = browser.new_context(
                        viewport={"width": width, "height": 400},
                        color_scheme=scheme,
                        java_script_enabled=False,
                    )
                    context.add_cookies(cookies)
                    page = context.new_page()
                    if path == "mail":
                        page.set_content(known["mail"])
                    else:
                        page.goto(address + path.format(**known))
                    FIRST.get(name, lambda page: None)(page)
                    height = min(page.evaluate("document.documentElement.scrollHeight"), TALLEST[width])
                    clip = {"x": 0, "y": 0, "width": width, "height": height}
                    page.screenshot(path=PICTURES / f"{name}.png", full_page=True, clip=clip)
                    context.close()
            browser.close()
        server.shutdown()
    large = [path.name for path in PICTURES.glob("*.png") if path.stat().st_size > LARGEST_BYTES]
    print(f"{len(list(PICTURES.glob('*.png')))} pictures in {PICTURES.relative_to(ROOT)}")
    if large:
        print(f"Larger than {LARGEST_BYTES} bytes: {', '.join(large)}", file=sys.stderr)
    return 1 if large else 0


def prepare(folder: Path) -> None:
    """Make Django ready, with a database of its own and a clock that stands still."""
    for name in [name for name in os.environ if name.startswith(("CRM_", "CRONS_"))]:
        del os.environ[name]
    os.environ.update(
        DATABASE_URL=f"sqlite:///{folder / 'pictures.sqlite3'}",
        CRM_ENV_FILE=os.devnull, CRM_SECRET_KEY="a1B2c" * 10,
        CRM_HTTPS="0", CRM_TIME_ZONE=picture_rows.ZONE, CRM_LOG_DIR=str(folder),
        DJANGO_SETTINGS_MODULE="crm.settings",
    )  # fmt: skip
    sys.path.insert(0, str(ROOT))
    PICTURES.mkdir(exist_ok=True)
    import django
    from django.core.management import call_command
    from django.utils import timezone

    django.setup()
    call_command("migrate", verbosity=0)
    timezone.now = lambda: picture_rows.NOW
    from crons import ledger
    from crons.watch import problems
    from crons.web import overview, views

    # The rows here are made up: that the CRM declares others is no news.
    problems.RULES.remove(problems.unsynced)
    views.overview.look = lambda window, look=overview.look, **who: look(window, picture_rows.NOW, **who)
    ledger.database_now = lambda: picture_rows.NOW


def serve() -> Any:
    """Answer on a free port, in a thread of its own."""
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def log_in() -> str:
    """Make a person who may do all, and return the key of a session."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
    from django.contrib.sessions.backends.db import SessionStore

    person = get_user_model().objects.create_superuser("dana")
    session = SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def choose(page: Any) -> None:
    """Choose some of the list's jobs, and say why."""
    for name in ("bank_import", "billing", "dunning"):
        page.get_by_role("checkbox", name=f"Choose {name}", exact=True).check()
    page.get_by_label("With those chosen, because").fill("the bank is down")


def ask(page: Any) -> None:
    """Go on to the page that asks about those chosen."""
    choose(page)
    page.get_by_role("button", name="Pause").click()


def open_pause(page: Any) -> None:
    """Unfold the first button that pauses."""
    page.locator("details.act", has_text="Pause").first.locator("summary").click()


Picture = tuple[str, str, int, str]
Scene = tuple[Callable[[], dict[str, Any]], list[Picture]]
# Of these pictures something is done first.
FIRST: dict[str, Callable[[Any], None]] = {"jobs-chosen": choose, "jobs-asked": ask, "home-act": open_pause}
SCENES: list[Scene] = [
    (picture_rows.empty, [("home-empty", "/crons/", WIDE, "light")]),
    (picture_rows.well, [("home-well", "/crons/", WIDE, "light")]),
    (
        picture_rows.day,
        [
            ("home", "/crons/", WIDE, "light"),
            ("home-dark-narrow", "/crons/", NARROW, "dark"),
            ("home-act", "/crons/", WIDE, "light"),
            ("incidents", "/crons/incidents", WIDE, "light"),
            ("incident", "/crons/incidents/{incident_id}", WIDE, "light"),
            ("incidents-dark-narrow", "/crons/incidents", NARROW, "dark"),
            ("mail", "mail", MAIL, "light"),
            ("job", "/crons/jobs/send_digests", WIDE, "light"),
            ("job-dark-narrow", "/crons/jobs/send_digests", NARROW, "dark"),
            ("run", "/crons/runs/{run_id}", WIDE, "light"),
            ("run-dark-narrow", "/crons/runs/{run_id}", NARROW, "dark"),
        ],
    ),
    (
        picture_rows.fire,
        [
            ("home-fire", "/crons/", WIDE, "light"),
            ("home-fire-dark", "/crons/?days=7", WIDE, "dark"),
            ("home-fire-narrow", "/crons/", NARROW, "light"),
            ("admin-runs", "/admin/crons/run/?ended=unwell", WIDE, "light"),
            ("admin-run", "/admin/crons/run/{run_id}/change/", WIDE, "light"),
            ("admin-run-dark-narrow", "/admin/crons/run/{run_id}/change/", NARROW, "dark"),
            ("admin-entry", "/admin/crons/entry/{update_low_stock_id}/change/", WIDE, "light"),
            ("admin-pause", "/admin/crons/entry/pause/?ids={update_low_stock_id}", WIDE, "light"),
            ("admin-pauses", "/admin/crons/pause/", WIDE, "light"),
        ],
    ),
    (
        picture_rows.night,
        [
            ("jobs", "/crons/jobs", WIDE, "light"),
            ("jobs-dark-narrow", "/crons/jobs", NARROW, "dark"),
            ("jobs-chosen", "/crons/jobs?owner=finance", WIDE, "light"),
            ("jobs-asked", "/crons/jobs?owner=finance", WIDE, "light"),
            ("timeline", "/crons/timeline", WIDE, "light"),
            ("timeline-week-dark", "/crons/timeline?span=7d&owner=finance", WIDE, "dark"),
            ("timeline-narrow", "/crons/timeline?owner=finance", NARROW, "light"),
        ],
    ),
]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
