#!/usr/bin/env python3
"""Note whom to remind of a pending order of the last 7 days; the lines go to order_reminders_log.txt.

    send_order_reminders.py [--dry-run] [--scheduled] [--wait]

Asks GraphQL for the orders (crm/reminders.py), and prints "Order reminders processed!".
Works from any directory and in cron's almost empty environment. The exit code is that of the work.
The interpreter: $CRM_PYTHON, else .venv/bin/python beside manage.py, else the one that runs this.
Written for Python 3.6 too: the one that cron finds may be older than the project's.
"""

import os
import sys
from typing import NoReturn

NAME = "send_order_reminders.py"


def main() -> None:
    """Become the management command, under the project's interpreter."""
    # A symlink to this script is followed to the script: the project is two directories above that.
    script = os.path.realpath(__file__)
    project = os.path.dirname(os.path.dirname(os.path.dirname(script)))
    manage = os.path.join(project, "manage.py")
    if not os.path.isfile(manage):
        fail(2, f"no manage.py in {project}. Keep the script in crm/cron_jobs of the project.")
    python = interpreter(project)
    try:
        sys.stdout.flush()
        os.execvp(python, [python, manage, "send_order_reminders", *sys.argv[1:]])
    except OSError:
        fail(127, f"{python} cannot be started. Set CRM_PYTHON to the project's interpreter.")


def interpreter(project: str) -> str:
    """Give the interpreter that has the project's dependencies."""
    own = os.path.join(project, ".venv", "bin", "python")
    if os.environ.get("CRM_PYTHON"):
        return os.environ["CRM_PYTHON"]
    return own if os.access(own, os.X_OK) else sys.executable or "python3"


def fail(code: int, message: str) -> NoReturn:
    """Say why on stderr and end with *code*."""
    sys.stderr.write(f"{NAME}: {message}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
