"""Take the pictures of docs/tour.md and of the CRM's pages anew: from the demo, which runs in a folder of its own.

Needs Debian's chromium, and some minutes: the shop's past is played first.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "screenshots"
WIDE, TALLEST = 1200, 920
PATIENCE_SECONDS = 900
PLAIN = ["--no-sandbox", "--disable-lcd-text", "--font-render-hinting=none", "--hide-scrollbars"]
# Before something is broken, and after.
BEFORE = {
    "tour-home": "/crons/",
    "tour-orders": "/admin/crm/order/?confirmation__exact=sending",
    "crm-reports": "/admin/crm/report/",
    "crm-mails": "/admin/crm/mail/",
}
AFTER = {"tour-broken": "/crons/"}


def main() -> int:
    """Run the demo, look, end it."""
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder))
        demo = subprocess.Popen([sys.executable, str(ROOT / "deploy" / "run_demo.py")], env=env, cwd=ROOT)
        try:
            wait_for(lambda: answers(int(env["PORT"])))
            take(env, BEFORE)
            subprocess.run(
                [sys.executable, str(ROOT / "deploy" / "demo" / "breaking.py"), "break"], env=env, check=True
            )
            wait_for(lambda: "update_low_stock" in said(env, "health"))
            take(env, AFTER)
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait()
    return 0


def environment(folder: Path) -> dict[str, str]:
    """Give a demo a folder and a port of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CRM_", "CRONS_"))}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        **kept, "PORT": str(port), "DATABASE_URL": f"sqlite:///{folder / 'crm.sqlite3'}", "CRM_ENV_FILE": os.devnull,
        "CRM_LOG_DIR": str(folder / "log"), "CRM_ARCHIVE_DIR": str(folder / "archives"), "CRM_DEBUG": "1",
        "CRM_TOKEN_FILE": str(folder / "token"), "DEMO_LOGIN_FILE": str(folder / "login"),
    }  # fmt: skip


def take(env: dict[str, str], pictures: dict[str, str]) -> None:
    """Log in, and keep a picture of each page."""
    from playwright.sync_api import sync_playwright

    address = f"http://127.0.0.1:{env['PORT']}"
    name, password = Path(env["DEMO_LOGIN_FILE"]).read_text().split()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=PLAIN)
        context = browser.new_context(viewport={"width": WIDE, "height": 400}, color_scheme="light")
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(f"{address}/admin/login/")
        page.fill("#id_username", name)
        page.fill("#id_password", password)
        page.click("[type=submit]")
        for picture, path in pictures.items():
            page.goto(address + path)
            height = min(page.evaluate("document.documentElement.scrollHeight"), TALLEST)
            clip = {"x": 0, "y": 0, "width": WIDE, "height": height}
            page.screenshot(path=PICTURES / f"{picture}.png", full_page=True, clip=clip)
        browser.close()


def said(env: dict[str, str], verb: str) -> str:
    """Return what `crons` prints."""
    command = [sys.executable, str(ROOT / "manage.py"), "crons", verb]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True).stdout


def answers(port: int) -> bool:
    """Say whether the web server listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(is_so: Any) -> None:
    """Wait until *is_so*."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError("the demo did not come so far")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
