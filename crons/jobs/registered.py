"""The jobs and entries of this project, by name; and the messages for a name that is unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar, cast

from crons.exceptions import DuplicateJob, UnknownJob, nearest
from crons.jobs.callables import Body
from crons.jobs.values import Declaration, Job

T = TypeVar("T")


class _Loaded(Generic[T]):
    """An attribute of the registry that loads the project's declarations before it is read."""

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
    # Modules of declarations that could not be imported → why. Their jobs are unknown, which is not "undeclared".
    broken = _Loaded[dict[str, str]]()

    def __init__(self) -> None:
        # Set by the app: returns when the declarations are loaded, and costs nothing when they are.
        self.load: Callable[[], None] = lambda: None
        self.is_loaded = False
        # The modules that loading imports. A job declared in another one is known only where something imports that.
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
        # Try without loading first: entry(…) asks while the modules are being imported.
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

    def executors(self) -> list[str]:
        """List the executors that the jobs name, each once."""
        return sorted({job.policy.executor for job in self.jobs.values()})

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
                # The module was reloaded after the job had been renamed in it.
                del self._jobs[other.name]
                self._entries.pop(other.name, None)

    def _refuse_twin_entry(self, declaration: Declaration) -> None:
        twin = self._entries.get(declaration.name)
        if twin is not None and not _is_declared_anew(twin, declaration):
            # Where job and entry both clash, name the job: that is what its author wrote.
            kind = "job" if twin.name == twin.job and declaration.name == declaration.job else "entry"
            raise DuplicateJob(_twins(kind, declaration.name, twin, declaration))


registry = Registry()


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


def _is_declared_anew(first: Job | Declaration, second: Job | Declaration) -> bool:
    """Say whether *second* is *first*, met once more, as when a module is imported a second time."""
    if first.origin is None or second.origin is None:
        return first.source_ref == second.source_ref
    return second.origin.repeats(first.origin)


def _twins(kind: str, name: str, first: Job | Declaration, second: Job | Declaration) -> str:
    places = " and ".join(each.origin.place if each.origin else each.source_ref for each in (first, second))
    return f"two declarations of the {kind} {name!r}: {places}. Give one of them another name=."
