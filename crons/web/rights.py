"""Who may see and do what: Django's permission for each verb, which CRONS["RIGHTS"] may narrow to some entries.

Pages ask here, and never `user.has_perm`; code that calls `crons.api` may do everything. The hook takes away and never
adds: without Django's permission it is not asked, nor for a superuser. A hook that raises, or answers what is neither
True nor False nor a Q over Entry, refuses, and the log says why.

What belongs to an entry is seen with it only: it shows the entry's name, schedule and state. So the hook's answer about
view_entry holds for all of them, besides that for their own permission.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db.models import BigIntegerField, Case, Exists, F, Model, OuterRef, Q, QuerySet, Value, When
from django.db.models.fields.json import KeyTransform
from django.db.models.functions import Cast

from crons.columns import IsAmong
from crons.conf import conf
from crons.exceptions import InvalidSetting
from crons.models import (
    Attempt,
    AuditEvent,
    Delivery,
    Entry,
    Incident,
    OutputChunk,
    Pause,
    Range,
    Run,
    WorkReport,
)
from crons.side_output import get_log
from crons.watch import OUTAGE, SHARED, terms_of

log = get_log("crons")
M = TypeVar("M", bound=Model)
# Of its own entries a shared incident names so many.
NAMED = 10
VIEW, VIEW_RUN, VIEW_INCIDENT = "crons.view_entry", "crons.view_run", "crons.view_incident"
# What a row belongs to; by this way its entry is found. What stands in no way to an entry is whoever's.
BELONGS: dict[type[Model], tuple[str, type[Model]]] = {
    Run: ("entry", Entry),
    Range: ("entry", Entry),
    Incident: ("entry", Entry),
    Attempt: ("run", Run),
    WorkReport: ("attempt", Attempt),
    OutputChunk: ("attempt", Attempt),
    Delivery: ("incident", Incident),
}


# Incidents of many entries: what they say names all of these.
_IS_SHARED = Q(entry__isnull=True) & (Q(key__endswith=SHARED) | Q(rule=OUTAGE))


class _Every(Container[object]):
    """Holds whatever one asks for."""

    def __contains__(self, item: object) -> bool:
        return True


def may(user: Any, permission: str, entry: Entry | None = None) -> bool:
    """Say whether *user* may do what *permission* is for, to *entry*; without one, to any entry at all."""
    return not lacks(user, permission, entry)


def lacks(user: Any, permission: str, entry: Entry | None = None) -> str:
    """Say in a sentence why *user* may not; empty where they may."""
    if lacking := lacks_any(user, [permission]):
        return lacking
    if entry is not None and entry.pk not in permitted(user, permission, [entry.pk]):
        return f"Your account lacks the permission {permission} for {entry.name}."
    return ""


def lacks_any(user: Any, permissions: Iterable[str]) -> str:
    """Say in a sentence which of *permissions* the person lacks; empty where they have them all."""
    asked = {each: _asked(user, each) for each in permissions}
    if troubles := [trouble for _, trouble in asked.values() if trouble]:
        return troubles[0]
    lacking = [each for each, (answer, _) in asked.items() if answer is False]
    return f"Your account lacks the permission {' and '.join(lacking)}." if lacking else ""


def may_all(user: Any, permission: str) -> bool:
    """Say whether *user* may do it to every entry, and so also to what holds or tells of all of them."""
    return _asked(user, permission)[0] is True


def visible(user: Any, rows: QuerySet[M], permission: str = VIEW) -> QuerySet[M]:
    """Return those of *rows*, entries or what belongs to them, for which *user* has *permission*, and view_entry.

    Cost: no statement of its own; the rows are looked up along their keys, in the order in which they are read.
    """
    return _fitting(rows, _answers(user, rows.model, permission))


def concerning(user: Any, rows: QuerySet[Incident], permission: str) -> QuerySet[Incident]:
    """Return the incidents that *visible* does, and those that many entries share where *user* may see one of them.

    What such a row says names all of them: `tell` has it say what *user* may read.
    """
    return _fitting(rows, _answers(user, Incident, permission), of=_concerning)


def tell(user: Any, incidents: Iterable[Incident]) -> None:
    """Have each of *incidents*, in memory, name only entries that *user* may see, and no run of another.

    Cost: one statement where one of them is shared and the person's rights are narrowed; else none.
    """
    shared = [each for each in incidents if is_shared(each)]
    if not shared or may_all(user, VIEW):
        return
    names = {name for each in shared for name in _jobs_of(each)}
    entries = Entry.objects.using(conf.database).filter(name__in=names)
    seen = set(visible(user, entries).values_list("name", flat=True))
    for each in shared:
        each.run_id, each.summary, each.count = None, _said(each, seen), 1


def is_shared(incident: Incident) -> bool:
    """Say whether an incident is about many entries."""
    return incident.entry_id is None and (incident.key.endswith(SHARED) or incident.rule == OUTAGE)


def permitted(user: Any, permission: str, entries: Iterable[int]) -> Container[object]:
    """Return what holds the ids of those among *entries* for which *user* has *permission*.

    Cost: one statement for all permissions that the hook answers alike; none without a hook.
    """
    return permitted_each(user, [permission], entries)[permission]


def permitted_each(user: Any, permissions: Iterable[str], entries: Iterable[int]) -> dict[str, Container[object]]:
    """Return, by permission, what holds the ids of those among *entries* for which *user* has it.

    Cost: one statement for all, however the hook answers; none without a hook, nor for what was asked before.
    """
    answers = {each: _asked(user, each)[0] for each in permissions}
    narrow = {each: _known(user, answer) for each, answer in answers.items() if isinstance(answer, Q)}
    asked = {each for each in entries if each is not None} if narrow else set()
    unknown = {name: asked - known.keys() for name, known in narrow.items()}
    # Those that are answered alike share what is known.
    new = {id(narrow[name]): name for name, ids in unknown.items() if ids}
    if new:
        rows = Entry.objects.using(conf.database).filter(pk__in=set().union(*unknown.values()))
        # Not as a condition of the row's own: what a Q takes away by way of many rows, it must take away here too.
        fits = {
            f"fits_{number}": Exists(Entry.objects.using(conf.database).filter(answers[name], pk=OuterRef("pk")))
            for number, name in enumerate(new.values())
        }
        for pk, *found in rows.annotate(**fits).values_list("pk", *fits):
            for name, does_fit in zip(new.values(), found, strict=True):
                narrow[name][pk] = bool(does_fit)
        for name in new.values():
            for pk in unknown[name]:
                narrow[name].setdefault(pk, False)  # it is gone
    held: dict[str, Container[object]] = {}
    for each, answer in answers.items():
        fitting = frozenset(pk for pk, is_permitted in narrow.get(each, {}).items() if is_permitted)
        held[each] = _Every() if answer is True else fitting
    return held


def _answers(user: Any, model: type[Model], permission: str) -> list[bool | Q]:
    """Return all that has to hold for rows of *model*."""
    answers = [_asked(user, permission)[0]]
    if permission != VIEW and (model in BELONGS or model in (Entry, Pause, AuditEvent)):
        answers.append(_hooked(user, VIEW)[0])
    return answers


def _fitting(rows: QuerySet[M], answers: Iterable[bool | Q], of: Callable[..., Any] | None = None) -> QuerySet[M]:
    narrowing: list[Q] = []
    for answer in answers:
        if answer is False:
            return rows.none()
        if isinstance(answer, Q) and not any(_are_alike(answer, each) for each in narrowing):
            narrowing.append(answer)
    for answer in narrowing:
        rows = rows.filter((of or _of)(rows.model, answer))
    return rows


def _asked(user: Any, permission: str) -> tuple[bool | Q, str]:
    """Return the answer, and what went wrong; each is asked once in a request."""
    return _hooked(user, permission) if user.has_perm(permission) else (False, "")


def _hooked(user: Any, permission: str) -> tuple[bool | Q, str]:
    """Return what the hook answers, whether or not *user* has Django's permission."""
    if user.is_superuser:
        return True, ""
    try:
        hook = conf.rights
    except InvalidSetting as error:
        about = {"event": "setting.refused", "setting": "RIGHTS"}
        log.error("nobody may do what needs %s: %s", permission, error, extra=about)  # noqa: TRY400 (the sentence says all)
        return False, f"Whether you have the permission {permission} is not known: CRONS['RIGHTS'] cannot be used."
    if hook is None:
        return True, ""
    answers: dict[Any, tuple[bool | Q, str]] = _kept(user).setdefault("answers", {})
    if (hook, permission) not in answers:
        answers[hook, permission] = _ask(hook, user, permission)
    return answers[hook, permission]


def _ask(hook: Callable[[Any, str], object], user: Any, permission: str) -> tuple[bool | Q, str]:
    try:
        return checked(hook(user, permission)), ""
    except Exception:
        about = {"event": "rights.failed", "permission": permission}
        log.exception("CRONS['RIGHTS'] failed for %s; what needs %s is refused", user, permission, extra=about)
        told = f"Whether you have the permission {permission} is not known: CRONS['RIGHTS'] failed."
        return False, f"{told} This host's log says why."


def checked(answer: object) -> bool | Q:
    """Return what the hook answered, where it is an answer.

    Raises: TypeError, ValueError or Django's FieldError where it is none. Cost: no statement.
    """
    if isinstance(answer, bool):
        return answer
    if not isinstance(answer, Q):
        raise TypeError(f"it answered {answer!r}, expected True, False or a Q over Entry")
    if not answer:
        # So ends a loop that puts nothing into Q(): over no team it would open every entry.
        raise ValueError("it answered an empty Q, which every entry fits: say True for all, and False for none")
    rows = Entry.objects.using(conf.database).filter(answer)
    try:
        rows.query.get_compiler(conf.database).as_sql()  # a subquery over another database shows here
    except EmptyResultSet:
        return False
    return answer


def _of(model: type[Model], answer: Q) -> Any:
    """Return what holds for the rows of *model* whose entry fits *answer*."""
    entries = Entry.objects.using(conf.database).filter(answer)
    if model is Entry:
        return answer
    if model is Pause:
        of_tag = Exists(entries.filter(tags__has_tag=OuterRef("tag")))
        # What pauses everything pauses these entries too.
        of_all = Q(entry__isnull=True) & (Q(tag="") | of_tag)
        return Q(Exists(entries.filter(pk=OuterRef("entry_id")))) | of_all
    if model is AuditEvent:
        runs = Run.objects.using(conf.database).filter(_of(Run, answer))
        of_run = Exists(runs.filter(pk=Cast(OuterRef("subject"), BigIntegerField())))
        of_entry = Exists(entries.filter(name=OuterRef("subject")))
        # Not AND: only CASE promises that no other subject is read as the number of a run.
        return Case(
            When(subject_type="entry", then=of_entry), When(subject_type="run", then=of_run), default=Value(False)
        )
    if model not in BELONGS:
        return Q()
    column, owner = BELONGS[model]
    # Not a join, nor IN: SQLite would begin with the few entries, read all that is theirs, and sort it.
    rows = owner._default_manager.using(conf.database).filter(_of(owner, answer))
    mine = Exists(rows.filter(pk=OuterRef(f"{column}_id")))
    if model is Incident:
        # Of a host, a channel, the database: seen by all, as on the first page.
        return Q(mine) | (Q(entry__isnull=True) & ~Q(key="") & ~_IS_SHARED)
    return mine


def _concerning(model: type[Incident], answer: Q) -> Any:
    entries = Entry.objects.using(conf.database).filter(answer)
    # By the names in the incident, not by the entries: those may be a hundred thousand.
    named = Exists(entries.filter(IsAmong(F("name"), KeyTransform("jobs", OuterRef("data")))))
    # While nothing looked at the clock, nothing of anybody's was begun.
    return Q(_of(model, answer)) | (_IS_SHARED & (Q(rule=OUTAGE) | Q(named)))


def _kept(user: Any) -> dict[str, Any]:
    """Return what is remembered of *user* for as long as its object lives: a request."""
    kept: dict[str, Any] | None = getattr(user, "_crons_rights", None)
    if kept is None:
        kept = user._crons_rights = {}
    return kept


def _known(user: Any, answer: Q) -> dict[int, bool]:
    """Return of which entries it is known whether they fit *answer*."""
    kept: list[tuple[Q, dict[int, bool]]] = _kept(user).setdefault("entries", [])
    for other, known in kept:
        if _are_alike(other, answer):
            return known
    known = {}
    kept.append((answer, known))
    return known


def _are_alike(one: Q, other: Q) -> bool:
    try:
        return one is other or one == other
    except TypeError:  # it holds what cannot be compared
        return False


def _said(incident: Incident, seen: set[str]) -> str:
    jobs = _jobs_of(incident)
    mine = [name for name in jobs if name in seen]
    named = ", ".join(mine[:NAMED]) + (f" and {len(mine) - NAMED} more" if len(mine) > NAMED else "")
    if incident.rule == OUTAGE:
        return "nothing looked at the clock, and slots were missed or made up for" + (f": {named}" if named else "")
    many = f"{len(jobs)} jobs {terms_of(incident.rule).say}" if len(jobs) != 1 else terms_of(incident.rule).says
    return f"{many}, of yours: {named}" if len(mine) < len(jobs) else f"{many}: {named}"


def _jobs_of(incident: Incident) -> list[str]:
    found = incident.data.get("jobs")
    return [str(each) for each in found] if isinstance(found, list) else []
