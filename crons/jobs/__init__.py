"""What to run, and under which policies: pure values, importable anywhere, any time; declared once, known by name."""

from crons.jobs.callables import Body, CommandBody, ProgramNotStarted, ShellBody
from crons.jobs.checking import (
    NAME,
    check_args,
    check_body,
    check_name,
    check_text,
    check_texts,
    make_policy,
    missing_args,
)
from crons.jobs.declare import F, command, entry, job, schedule, shell
from crons.jobs.external_tasks import is_instance_of
from crons.jobs.plain_json import value_of, why_not_plain
from crons.jobs.policies import OF_OTHERS, OURS, Policy, Retry
from crons.jobs.registered import Registry, T, no_entry, not_declared, registry, unknown_here
from crons.jobs.values import Declaration, Job
from crons.jobs.windows import Window

__all__ = [
    "NAME",
    "OF_OTHERS",
    "OURS",
    "Body",
    "CommandBody",
    "Declaration",
    "F",
    "Job",
    "Policy",
    "ProgramNotStarted",
    "Registry",
    "Retry",
    "ShellBody",
    "T",
    "Window",
    "check_args",
    "check_body",
    "check_name",
    "check_text",
    "check_texts",
    "command",
    "entry",
    "is_instance_of",
    "job",
    "make_policy",
    "missing_args",
    "no_entry",
    "not_declared",
    "registry",
    "schedule",
    "shell",
    "unknown_here",
    "value_of",
    "why_not_plain",
]
