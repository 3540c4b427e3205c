"""Declaring jobs and entries in code: @job, command(…), shell(…), schedule(…), entry(…)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from crons.exceptions import InvalidJob
from crons.jobs import external_tasks
from crons.jobs.callables import Body, CommandBody, ShellBody
from crons.jobs.checking import check_args, check_body, check_name, check_text, check_texts, make_policy
from crons.jobs.origins import Origin
from crons.jobs.policies import OF_OTHERS
from crons.jobs.registered import registry
from crons.jobs.values import Declaration, Job
from crons.schedules import NEVER, Schedule

F = TypeVar("F", bound=Body)


def job(
    schedule: Schedule | None = None,
    *,
    name: str | None = None,
    args: Mapping[str, Any] | None = None,
    owner: str = "",
    description: str = "",
    tags: Iterable[str] = (),
    aliases: Iterable[str] = (),
    **policy: Any,
) -> Callable[[F], F]:
    """Declare the decorated function as a job; the function comes back unchanged.

    Args: *schedule* cron(…) or every(…), or None for a job that only people and code start, and may give arguments;
    *name* defaults to the function's; *args* are its keyword arguments, plain JSON;
    *aliases* are former names whose history is carried over; *policy* takes catch_up, overlap,
    deadline, cap, timeout, retry, idempotent, executor, group, route, expected, max_silence, max_idle, tell_after,
    unsteady and window.
    Raises: InvalidJob, DuplicateJob, at import.
    """
    if callable(schedule) and not isinstance(schedule, Schedule):
        raise InvalidJob('@job needs brackets and a schedule: @job(cron("0 2 * * SUN")) or @job(every(minutes=5)).')

    def declare(function: F) -> F:
        if external_tasks.is_uncallable(function):
            raise InvalidJob(
                f"@job above @task: {function!r} cannot be called. Take @job away and write below it: "
                f"schedule({function.name}, cron(…)), with schedule from crons."  # type: ignore[attr-defined]
            )
        _declare(
            function,
            schedule,
            name=name or str(getattr(function, "__name__", "")),
            args=args or {},
            owner=owner,
            description=description or _first_line(function.__doc__),
            tags=tags,
            aliases=aliases,
            policy=policy,
            source_ref=f"{function.__module__}.{getattr(function, '__qualname__', function)}",
        )
        return function

    return declare


def command(
    command_name: str,
    *command_args: str,
    schedule: Schedule | None = None,
    name: str | None = None,
    **options: Any,
) -> Job:
    """Declare a management command as a job, in code only.

    >>> command("clearsessions", schedule=cron("@daily"))           # doctest: +SKIP
    """
    return _declare_body(CommandBody(command_name, tuple(command_args)), name or command_name, schedule, options)


def shell(
    program: Sequence[str],
    *,
    name: str,
    schedule: Schedule | None = None,
    cwd: str | None = None,
    **options: Any,
) -> Job:
    """Declare a program with its arguments as a job, in code only; no shell reads them.

    >>> shell(["/usr/bin/rsync", "-a", "/a", "/b"], name="copy", schedule=cron("@hourly"))   # doctest: +SKIP
    """
    if isinstance(program, str) or not program or not all(isinstance(part, str) for part in program):
        raise InvalidJob(f"shell({program!r}): expected a list of texts, the program first: ['/bin/ls', '-l'].")
    return _declare_body(ShellBody(tuple(program), cwd), name, schedule, options)


def schedule(task: Any, when: Schedule | None, *, name: str = "", **options: Any) -> Job:
    """Declare a task that exists, of Django's Tasks framework or of Celery, as a job: its function is the body.

    Its queue and priority become the route, its framework the executor, "tasks" or "celery". Code that enqueues it
    by itself still does so, past the ledger.

    Args: *name* defaults to the function's; other keywords are as for job().
    Raises: InvalidJob where calling the function is not what its framework would have done.

    >>> schedule(send_report, cron("0 6 * * MON"), args={"to": "ann"})           # doctest: +SKIP
    """
    lent = external_tasks.read(task, options)
    options.setdefault("executor", lent.executor)
    given = options.get("route", {})
    if isinstance(given, Mapping) and (lent.route or given):
        options["route"] = {**lent.route, **given}
    options.setdefault("description", _first_line(lent.body.__doc__))
    options.setdefault("timeout", registry.defaults().get("timeout", OF_OTHERS.timeout))
    return _declare_body(lent.body, name or lent.body.__name__, when, options)


def entry(name: str, job_name: str, schedule: Schedule, *, args: Mapping[str, Any] | None = None) -> Declaration:
    """Put a declared job on one more schedule, with its own arguments and its own history."""
    owner = registry.get(job_name)
    check_name(name)
    check_args(name, owner.body, args or {})
    origin = Origin.here(registry.setup())
    declaration = Declaration(name, owner.name, schedule, dict(args or {}), source_ref=_caller(), origin=origin)
    registry.add_entry(declaration)
    return declaration


def _declare_body(body: Body, name: str, schedule: Schedule | None, options: dict[str, Any]) -> Job:
    about = {key: options.pop(key) for key in ("owner", "description", "args") if key in options}
    lists = {key: options.pop(key, ()) for key in ("tags", "aliases")}
    return _declare(
        body,
        schedule,
        name=name,
        args=about.get("args", {}),
        owner=about.get("owner", ""),
        description=about.get("description", ""),
        policy=options,
        source_ref=_caller(),
        **lists,
    )


def _declare(
    body: Body,
    schedule: Schedule | None,
    *,
    name: str,
    args: Mapping[str, Any],
    owner: str,
    description: str,
    tags: Iterable[str],
    aliases: Iterable[str],
    policy: Mapping[str, Any],
    source_ref: str,
) -> Job:
    if schedule is not None and not isinstance(schedule, Schedule):
        raise InvalidJob(f"{name}: {schedule!r} is no schedule, expected cron('0 2 * * SUN') or every(minutes=5).")
    check_name(name)
    tags, aliases = check_texts(name, "tags", tags), check_texts(name, "aliases", aliases)
    for alias in aliases:
        check_name(alias)
    for key, value in (("owner", owner), ("description", description)):
        check_text(name, key, value)
    check_body(name, body)
    check_args(name, body, args, are_all=schedule not in (None, NEVER))
    origin = Origin.here(registry.setup(), body)
    job = Job(
        name,
        body,
        make_policy(name, policy),
        owner=owner,
        description=description,
        tags=tags,
        aliases=aliases,
        source_ref=source_ref,
        origin=origin,
    )
    when = schedule or NEVER
    registry.add(job, Declaration(name, name, when, dict(args), source_ref=source_ref, aliases=aliases, origin=origin))
    return job


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]


def _caller() -> str:
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    if frame is None:
        return ""
    return f"{frame.f_globals.get('__name__')}:{frame.f_lineno}"
