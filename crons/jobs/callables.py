"""What a job may be besides a function: a management command, or a program; in code only."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = Callable[..., Any]
# Errors of a machine that has no room for one more process.
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})


class ProgramNotStarted(Exception):
    """The machine had no room for the program's process, so nothing of it has begun."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class CommandBody:
    """Calls a management command in the attempt's process."""

    command_name: str
    command_args: tuple[str, ...] = ()

    def __call__(self, **options: Any) -> None:
        from django.core.management import call_command  # not at the top: declaring a job must not import Django

        call_command(self.command_name, *self.command_args, **options)


@dataclass(frozen=True)
class ShellBody:
    """Runs a program; its output is the attempt's, its exit code decides."""

    program: tuple[str, ...]
    cwd: str | None = None

    def __call__(self) -> None:
        sys.stdout.flush()
        try:
            program = subprocess.Popen(self.program, cwd=self.cwd, stdin=subprocess.DEVNULL)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise ProgramNotStarted(error) from error
            raise
        with program:
            try:
                code = program.wait()
            except BaseException:
                program.kill()
                raise
        if code:
            raise subprocess.CalledProcessError(code, self.program)
