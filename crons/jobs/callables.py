"""What a job may be besides a function: a management command, or a program; in code only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = Callable[..., Any]


@dataclass(frozen=True)
class CommandBody:
    """Calls a management command in the attempt's process."""

    command_name: str
    command_args: tuple[str, ...] = ()

    def __call__(self, **options: Any) -> None:
        from django.core.management import call_command  # a value until called: this module imports no Django

        call_command(self.command_name, *self.command_args, **options)


@dataclass(frozen=True)
class ShellBody:
    """Runs a program; its output is the attempt's, its exit code decides."""

    program: tuple[str, ...]
    cwd: str | None = None

    def __call__(self) -> None:
        sys.stdout.flush()
        subprocess.run(self.program, cwd=self.cwd, check=True, stdin=subprocess.DEVNULL)
