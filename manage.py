#!/usr/bin/env python
"""Run a management command of the CRM project, from any working directory."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Hand the command line to Django with this project on the import path."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "crm.settings")
    from django.core.management import execute_from_command_line  # after the path is set

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
