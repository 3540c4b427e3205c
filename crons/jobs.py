"""Declaring: what to run, and under which policies. Pure values; importable anywhere, any time."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

from crons import borrowed
from crons.bodies import Body, CommandBody, ShellBody
from crons.exceptions import DuplicateJob, InvalidJob, UnknownJob
from crons.origins import Origin
from crons.plain_json import why_not_plain
from crons.policies import OF_OTHERS, OURS, Policy
from crons.schedules import NEVER, Schedule

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,99}\Z")

F = TypeVar("F", bound=Body)
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """What to run and under which policies. *source_ref* and *origin* say where it was declared.

    *environment*: variables of its attempts besides those of the process that begins them.
    """

    name: str
    body: Body
    policy: Policy = field(default_factory=Policy)
    owner: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    source: str = "code"
    source_ref: str = ""
    origin: Origin | None = field(default=None, compare=False, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)


@dataclass(frozen=True)
class Declaration:
    """An entry as declared: *job* on *schedule* with *args* (keyword arguments, plain JSON)."""

    name: str
    job: str
    schedule: Schedule
    args: Mapping[str, Any] = field(default_factory=dict)
    source: str = "code"
    source_ref: str = ""
    aliases: tuple[str, ...] = ()
    origin: Origin | None = field(default=None, compare=False, repr=False)


class _Loaded(Generic[T]):
    """An attribute of the registry: reading it loads the project's declarations first, so that nobody can forget to."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, registry: Registry, owner: type | None = None) -> T:
        registry.load()
        return cast(T, getattr(registry, self._name))

    def __set__(self, registry: Registry, value: T) -> None:
        setattr(registry, self._name, value)


class Registry:
    """The jobs and entries of this project, by name.

    Declaring loads nothing: a module that a view imports must not import all others.
    """

    jobs = _Loaded[dict[str, Job]]()
    entries = _Loaded[dict[str, Declaration]]()
    # Modules of declarations that could not be imported, and why: what they declare is not known.
    broken = _Loaded[dict[str, str]]()

    def __init__(self) -> None:
        # Set by the app: returns when the declarations are loaded, and costs nothing when they are.
        self.load: Callable[[], None] = lambda: None
        self.is_loaded = False
        # What loading imports: jobs of other modules are known to some processes only.
        self.modules: list[str] = []
        self.defaults: Callable[[], Mapping[str, Any]] = dict
        # Django calls each ready() anew when INSTALLED_APPS change, as tests do: each round has a value of its own.
        self.setup: Callable[[], object] = lambda: None
        self._jobs: dict[str, Job] = {}
        self._entries: dict[str, Declaration] = {}
        self._broken: dict[str, str] = {}

    def add(self, job: Job, declaration: Declaration | None = None) -> None:
        """Know *job*, and the entry that puts it on a schedule.

        Raises: DuplicateJob if the name or an alias is taken by another declaration.
        """
        if declaration is not None:
            self._refuse_twin_entry(declaration)
        for name in (job.name, *job.aliases):
            self._refuse_twin(name, job)
        self._jobs[job.name] = job
        if declaration is not None:
            self._entries[declaration.name] = declaration

    def add_entry(self, declaration: Declaration) -> None:
        """Know another entry of a job that is known."""
        self.get(declaration.job)
        self._refuse_twin_entry(declaration)
        self._entries[declaration.name] = declaration

    def get(self, name: str) -> Job:
        """Return the job called *name*, or the one that once was.

        Raises: UnknownJob with the nearest names.
        """
        # What is known already is found without loading: entry(…) asks while modules are imported.
        found = self._find(name)
        if found is None:
            self.load()
            found = self._find(name)
        if found is None:
            raise UnknownJob(not_declared(name, self._jobs))
        return found

    def job_for(self, body: Body) -> Job | None:
        """Return the job whose function is *body*, or None."""
        return next((job for job in self.jobs.values() if job.body is body), None)

    def clear(self) -> None:
        """Forget everything (for tests)."""
        self._jobs.clear()
        self._entries.clear()

    def _find(self, name: str) -> Job | None:
        known = self._jobs.get(name)
        return known or next((job for job in self._jobs.values() if name in job.aliases), None)

    def _refuse_twin(self, name: str, job: Job) -> None:
        for other in list(self._jobs.values()):
            if name not in (other.name, *other.aliases):
                continue
            if not _is_declared_anew(other, job):
                raise DuplicateJob(_twins("job", name, other, job))
            if other.name != job.name:
                # Its module was reloaded after somebody had renamed it there.
                del self._jobs[other.name]
                self._entries.pop(other.name, None)

    def _refuse_twin_entry(self, declaration: Declaration) -> None:
        twin = self._entries.get(declaration.name)
        if twin is not None and not _is_declared_anew(twin, declaration):
            # Said of jobs where both are such: that is what their author wrote.
            kind = "job" if twin.name == twin.job and declaration.name == declaration.job else "entry"
            raise DuplicateJob(_twins(kind, declaration.name, twin, declaration))


registry = Registry()


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
    deadline, cap, timeout, retry, idempotent, executor, group and route.
    Raises: InvalidJob, DuplicateJob, at import.
    """
    if callable(schedule) and not isinstance(schedule, Schedule):
        raise InvalidJob('@job needs brackets and a schedule: @job(cron("0 2 * * SUN")) or @job(every(minutes=5)).')

    def declare(function: F) -> F:
        if borrowed.is_uncallable(function):
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

    Its queue and priority become the route, its framework the executor, "tasks" or "celery". Whoever enqueues it
    by hand goes on doing so, past the ledger.

    Args: *name* defaults to the function's; other keywords are as for job().
    Raises: InvalidJob where calling the function is not what its framework would have done.

    >>> schedule(send_report, cron("0 6 * * MON"), args={"to": "ann"})           # doctest: +SKIP
    """
    lent = borrowed.read(task, options)
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


def not_declared(name: str, known: Iterable[str]) -> str:
    """Say that *name* is unknown, and what was probably meant, or which module may declare it."""
    broken = "".join(f" {module}, which may declare it, fails: {why}." for module, why in registry.broken.items())
    return f"{name!r} is not declared.{broken or nearest(name, known)} See: manage.py crons list"


def unknown_here(job_name: str, source_ref: str) -> str:
    """Say that this process cannot begin a job that other code has declared, and what to do; empty if it can."""
    if job_name in registry.jobs:
        return ""
    broken = "".join(f" {module}, which may declare it, fails: {why}." for module, why in registry.broken.items())
    remedy = "Move it into a module called cron, or name its module in CRONS['MODULES']. See: manage.py check"
    return (
        f"this process does not know the job {job_name!r}, which was declared in {source_ref or 'other code'}: "
        f"no module that it loads declares it.{broken or f' {remedy}'}"
    )


def no_entry(name: str, known: Iterable[str]) -> str:
    """Say that *name* is no row's, and whether only nobody has written it yet."""
    if name in registry.entries:
        return f"{name!r} is declared, but not in this database yet. Run: manage.py crons sync"
    return not_declared(name, known)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean …?" with the nearest of *known*, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


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


def make_policy(name: str, given: Mapping[str, Any], base: Policy = OURS) -> Policy:
    """Build the policy of job *name* from what its declaration gives over CRONS["DEFAULTS"] over *base*.

    Raises: InvalidJob naming the key, with the nearest one.
    """
    defaults = registry.defaults()
    for key in (*given, *defaults):
        if key not in Policy.__dataclass_fields__:
            hint = nearest(key, Policy.__dataclass_fields__)
            where = name if key in given else "CRONS['DEFAULTS']"
            raise InvalidJob(f"{where}: {key!r} is no policy.{hint} Known: {', '.join(Policy.__dataclass_fields__)}.")
    try:
        return replace(base, **{**defaults, **given})
    except InvalidJob as error:
        raise InvalidJob(f"{_to_blame(name, defaults)}: {error}") from error


def check_name(name: str) -> None:
    """Raise InvalidJob if *name* cannot name a job or an entry."""
    if not (isinstance(name, str) and NAME.match(name)):
        raise InvalidJob(
            f"{name!r} cannot name a job: expected 1 to 100 letters, digits and _.:-, the first a letter or _."
        )


def check_text(name: str, key: str, value: Any) -> None:
    """Raise InvalidJob if *value* is no text."""
    if not isinstance(value, str):
        raise InvalidJob(f"{name}: {key}={value!r}: expected a text.")


def check_body(name: str, body: Any) -> None:
    """Raise InvalidJob if calling *body* makes a generator: the job would succeed each time and never have run."""
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise InvalidJob(f"{name} is a generator (it has a yield), so calling it runs nothing: take the yield out.")


def check_args(name: str, body: Body, args: Mapping[str, Any], *, are_all: bool = True) -> None:
    """Raise InvalidJob if *args* are not plain JSON, or *body* cannot be called with them.

    Without *are_all*, whoever runs the job gives it the arguments that are missing.
    """
    if why := why_not_plain(args):
        raise InvalidJob(f"{name}: of its args, {why}.")
    if isinstance(body, CommandBody):
        return
    try:
        signature = inspect.signature(body)
    except ValueError as error:
        raise InvalidJob(f"{name} does not say what it can be called with: {error}. Wrap it in a function.") from error
    given = dict.fromkeys(missing_args(body, args)) if not are_all else {}
    if "context" in signature.parameters:
        given["context"] = None
    try:
        signature.bind(**{**given, **args})
    except TypeError as error:
        names = f"Given: {', '.join(args)}" if args else "No arguments are given"
        raise InvalidJob(f"{name}{signature} cannot be called: {error}. {names}.") from error


def missing_args(body: Body, args: Mapping[str, Any]) -> list[str]:
    """Name the keyword arguments that *body* cannot be called without and that *args* lack."""
    if isinstance(body, CommandBody):
        return []
    return [
        each.name
        for each in inspect.signature(body).parameters.values()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        and each.default is each.empty
        and each.name != "context"
        and each.name not in args
    ]


def _to_blame(name: str, defaults: Mapping[str, Any]) -> str:
    try:
        replace(OURS, **defaults)
    except InvalidJob:
        return "CRONS['DEFAULTS']"
    return name


def check_texts(name: str, key: str, given: Iterable[str]) -> tuple[str, ...]:
    """Return *given* as a tuple; raise InvalidJob if they are not texts."""
    # A text is a list of letters to Python: aliases="old" would be three aliases, and carry over no history.
    texts = (given,) if isinstance(given, str | bytes) or not isinstance(given, Iterable) else tuple(given)
    if texts == (given,) or not all(isinstance(text, str) for text in texts):
        raise InvalidJob(f"{name}: {key}={given!r}: expected a list of texts, for example {key}=['one'].")
    return texts


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().partition("\n")[0]


def _is_declared_anew(first: Job | Declaration, second: Job | Declaration) -> bool:
    """Say whether *second* is *first*, met once more, as when a module is imported a second time."""
    if first.origin is None or second.origin is None:
        return first.source_ref == second.source_ref
    return second.origin.repeats(first.origin)


def _twins(kind: str, name: str, first: Job | Declaration, second: Job | Declaration) -> str:
    places = " and ".join(each.origin.place if each.origin else each.source_ref for each in (first, second))
    return f"two declarations of the {kind} {name!r}: {places}. Give one of them another name=."


def _caller() -> str:
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    if frame is None:
        return ""
    return f"{frame.f_globals.get('__name__')}:{frame.f_lineno}"
