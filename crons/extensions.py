"""What crons has for other systems, each in a folder of crons.contrib: the one registry that finds them.

A folder is found because it is there: nothing else names it, and where it is deleted only its feature is gone.
Packages of other people are found by an entry point of the group `crons.extensions`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from django.urls import URLPattern

    from crons.doctor.findings import Finding
    from crons.executors import Begun, Ending
    from crons.sources.base import Source
    from crons.targets.base import Target

GROUP = "crons.extensions"


@dataclass(frozen=True)
class ExternalTask:
    """A task that another system declared: its own function, and where that system would send it.

    Attributes:
        executor: alias of the executor that runs it there.
        route: of Policy.route.
    """

    body: Callable[..., Any]
    executor: str
    route: Mapping[str, Any]


class Extension:
    """What one other system adds; what is not overridden adds nothing.

    Every process makes it, one without that system too: each method imports what it needs when it is called.
    """

    executors: ClassVar[Mapping[str, str]] = {}
    """Executors that are there without a setting: alias → dotted path of the class."""

    channels: ClassVar[Mapping[str, str]] = {}
    """Ways to tell people, as CRONS["ALERTS"]["CHANNELS"] names their KIND → dotted path of the class."""

    settings: ClassVar[Mapping[str, str]] = {}
    """Settings that it reads, besides CRONS → what is lost where the name is misspelt."""

    commands: ClassVar[Mapping[str, str]] = {}
    """Management commands that enter the ledger → the app whose command of that name does."""

    task_kind: ClassVar[str] = ""
    """What the tasks that read_task() takes are called: "a task of Celery"."""

    def load_checks(self) -> None:
        """Register its system checks, by importing them."""

    def urls(self) -> Iterable[URLPattern]:
        """Return its pages below those of crons.urls; who may see them is its own affair."""
        return ()

    def load_worker_tasks(self) -> None:
        """Import what its workers must know; called in processes where a framework looks for tasks of apps."""

    def sources(self) -> Iterable[Source]:
        """Return where it reads declarations from."""
        return ()

    def targets(self) -> Iterable[type[Target]]:
        """Return the foreign schedules that it writes."""
        return ()

    def read_task(self, task: Any, policies: Collection[str]) -> ExternalTask | None:
        """Return what a job takes over of *task*; None if it is none of this system. *policies*: what its job declares.

        Raises: InvalidJob where calling its function is not what its system would have done.
        """
        return None

    def is_uncallable(self, function: Any) -> bool:
        """Say whether *function* is a task of this system that nobody can call."""
        return False

    def begin_attempt(self, begun: Begun) -> Callable[[Ending], None] | None:
        """Note that *begun* begins, in the process that runs it and right before its job is called.

        Returns: what is to be called with how the job ended, or None. What either raises is logged and changes nothing.
        """
        return None

    def examine(self) -> tuple[Iterable[Finding], bool]:
        """Return what `crons doctor` should know of it on this machine, and whether it fires jobs of this project."""
        return (), False


@cache
def extensions() -> tuple[Extension, ...]:
    """Return what there is, by the names of its folders; after that, what other packages bring."""
    package = "crons.contrib"
    ours: list[Extension] = []
    if find_spec(package) is not None:
        folders = sorted(each.name for each in iter_modules(import_module(package).__path__) if each.ispkg)
        ours = [import_module(f"{package}.{name}.extension").EXTENSION for name in folders]
    return (*ours, *(point.load()() for point in metadata.entry_points(group=GROUP)))
