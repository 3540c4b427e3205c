"""The one mechanism: what rules find → incidents that open, worsen and close → notices in the outbox.

Each change has one notice, however many processes look: the incident's row is locked, a key that is unique holds it
open once, and each notice has an event by which the outbox knows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from crons.models import Incident
from crons.presentation import incident_closed, incident_opened, incident_reopened, length, utc
from crons.watch.alerts import Notice, enqueue
from crons.watch.circumstances import recalled
from crons.watch.look import READ, Problem
from crons.watch.rules import BY_EVENT, SHARED, Terms, is_worse, terms_of, without_numbers

# So many of those that share an incident are named in what is told.
NAMED = 30
LONGEST_KEY = 150
# A look reads its rows a while after the moment that it bears: who bears an earlier one may have seen more.
STALE = timedelta(seconds=10)
LONGEST_MARK = 64


@dataclass(frozen=True)
class Found:
    """What one incident is of: one problem, or many of a kind that share it."""

    key: str
    problems: Sequence[Problem]

    @property
    def first(self) -> Problem:
        """The problem that speaks for all."""
        return self.problems[0]

    @property
    def terms(self) -> Terms:
        """What holds for its rule."""
        return terms_of(self.first.kind)

    @property
    def count(self) -> int:
        """How many there are of it."""
        return len(self.problems) if len(self.problems) > 1 else self.first.count

    @property
    def severity(self) -> str:
        """The worst of them."""
        worst = self.first.severity or self.terms.severity
        for each in self.problems:
            worst = each.severity if is_worse(each.severity, worst) else worst
        return worst

    @property
    def since(self) -> datetime | None:
        """Since when the oldest of them is so."""
        return min((each.since for each in self.problems if each.since is not None), default=None)

    @property
    def mark(self) -> str:
        """What is another one when people should hear of it; of many, how it is for all."""
        if len(self.problems) > 1 or self.terms.few == 0:
            return ""
        return _digest(self.first.mark or without_numbers(self.first.text))

    @property
    def subject(self) -> str:
        """One line that says what is wrong."""
        if len(self.problems) > 1:
            return f"{len(self.problems)} jobs {self.terms.say}"
        return f"{self.first.entry or self.first.about or 'crons'} {self.terms.says}"

    def lines(self) -> Iterator[str]:
        """Say each of them in a line, up to a number."""
        if len(self.problems) == 1:
            yield self.first.text
            return
        for each in self.problems[:NAMED]:
            yield f"  {each.entry or each.about or '-'}: {each.text}"
        if len(self.problems) > NAMED:
            yield f"  … and {len(self.problems) - NAMED} more"


def key_of(problem: Problem) -> str:
    """Name what one problem is about: the same from look to look, and of no other problem."""
    about = str(problem.row.pk) if problem.row is not None else problem.entry or problem.about
    key = f"{problem.kind}:{about}"
    return key if len(key) <= LONGEST_KEY else f"{problem.kind}:{_digest(about)}"


def shared_key(kind: str) -> str:
    """Name the incident that many problems of a kind share."""
    return f"{kind}{SHARED}"


def concerned(incident: Incident, names: Iterable[str]) -> list[str]:
    """Return the names of all entries that a shared incident has been about, with *names*; up to READ.

    They decide who may see it, also when most of them are well again.
    """
    known = incident.data.get("jobs") or []
    return list(dict.fromkeys([*known, *names]))[:READ]


def grouped(problems: Iterable[Problem], open_keys: set[str]) -> list[Found]:
    """Share *problems* out to incidents: those that are open, one each where few are new, one where many are."""
    kinds: dict[str, dict[str, list[Problem]]] = {}
    for each in problems:
        kinds.setdefault(each.kind, {}).setdefault(key_of(each), []).append(each)
    found: list[Found] = []
    for kind, by_key in kinds.items():
        new = {key: each for key, each in by_key.items() if key not in open_keys}
        shared = shared_key(kind)
        found += [Found(key, each[:1]) for key, each in by_key.items() if key not in new]
        if new and (shared in open_keys or len(new) > terms_of(kind).few):
            found.append(Found(shared, [each[0] for each in new.values()]))
        else:
            found += [Found(key, each[:1]) for key, each in new.items()]
    return found


def followed(using: str) -> dict[str, tuple[int, str]]:
    """Return by key the ids and rules of the open incidents that follow what rules find; others end with a run."""
    rows = Incident.objects.using(using).filter(open_key__isnull=False, closed_at=None).exclude(rule__in=BY_EVENT)
    return {str(key): (pk, rule) for key, pk, rule in rows.order_by("pk").values_list("open_key", "pk", "rule")}


def close_all(ids: Sequence[int], now: datetime, using: str) -> None:
    """Close the incidents with these ids, as `close` does. For use inside a transaction."""
    rows = Incident.objects.using(using).filter(pk__in=ids, open_key__isnull=False)
    for row in rows.select_for_update().order_by("pk"):
        close(row, now, using)


def open_or_worsen(found: Found, now: datetime, using: str) -> None:
    """Have the incident of what was *found* open, and say so where that is new or worse.

    For use inside a transaction.
    """
    incident = Incident.objects.using(using).select_for_update().filter(open_key=found.key).first()
    if incident is None:
        _open(found, now, using)
        return
    worse = dict(_worse(incident, found))
    names = _names(incident, found)
    unchanged = incident.gone_at is None and incident.count == found.count and not worse
    known = incident.data.get("names"), incident.data.get("jobs")
    if unchanged and known == (names, _jobs(incident, found)):
        return
    incident.gone_at = None
    _write(incident, found, names, now)
    incident.save(using=using)
    for event, what in worse.items():
        enqueue(incident, event, _notice(incident, found, "worsened", what, using), now, using)


def close(incident: Incident, now: datetime, using: str, notice: Notice | None = None) -> None:
    """Close a locked incident, and say so; where it came back before, only when it has been gone for long enough."""
    terms = terms_of(incident.rule)
    if incident.changed_at > now:
        return  # whoever looked before it opened did not see that it is over
    returns = incident.data.get("returns", 0)
    if returns and (incident.gone_at is None or now - incident.gone_at < terms.calm):
        if incident.gone_at is None:
            incident.gone_at = now
            incident.save(using=using, update_fields=["gone_at"])
        return
    incident.closed_at, incident.open_key, incident.gone_at = now, None, None
    incident.save(using=using, update_fields=["closed_at", "open_key", "gone_at"])
    incident_closed(incident, using)
    event = f"closed:{returns}" if returns else "closed"
    enqueue(incident, event, notice or _over(incident, now), now, using)


def _open(found: Found, now: datetime, using: str) -> None:
    terms = found.terms
    lasting = [each for each in found.problems if each.since is None or each.since <= now - terms.lasts]
    if not lasting:
        return
    found = Found(found.key, lasting)
    closed = Incident.objects.using(using).select_for_update().filter(key=found.key, open_key=None)
    last = closed.order_by("-closed_at", "-pk").first()
    if last is not None and last.closed_at is not None:
        if last.closed_at >= now - STALE:
            return  # it was closed by whoever has looked later than this; if it is back, the next look says so
        if now - last.closed_at < terms.calm:
            _reopen(last, found, now, using)
            return
    incident = Incident(rule=found.first.kind, key=found.key, open_key=found.key, opened_at=now)
    if len(lasting) == 1:
        incident.entry = found.first.row
    _write(incident, found, _names(incident, found), now)
    try:
        with transaction.atomic(using=using):
            incident.save(using=using)
    except IntegrityError:
        return  # another process has opened it at this moment
    incident_opened(incident, found.subject, using)
    enqueue(incident, "opened", _notice(incident, found, "opened", found.subject, using), now, using)


def _reopen(incident: Incident, found: Found, now: datetime, using: str) -> None:
    incident.closed_at, incident.open_key, incident.gone_at = None, found.key, None
    incident.data["returns"] = returns = incident.data.get("returns", 0) + 1
    _write(incident, found, _names(incident, found), now)
    incident.save(using=using)
    incident_reopened(incident, found.subject, using)
    # How often it comes back is its own news once; from here on it closes only after a calm.
    notice = _notice(incident, found, "worsened", f"{found.subject}, again", using)
    enqueue(incident, f"again:{returns}", notice, now, using)


def _worse(incident: Incident, found: Found) -> Iterator[tuple[str, str]]:
    """Yield, by event, how what was *found* is worse than what was told of *incident*."""
    told = set(incident.data.get("names") or [])
    if found.terms.by_name and (new := [each.entry for each in found.problems if each.entry not in told]):
        yield f"joined:{_digest(' '.join(sorted(new)))}", found.subject
    elif (step := _step(found)) > incident.data.get("step", 0):
        yield f"count:{step}", f"{found.subject}: {found.count} times" if len(found.problems) == 1 else found.subject
    if is_worse(found.severity, incident.severity):
        yield f"severity:{found.severity}", f"{found.subject}: {found.severity}"
    if found.mark and incident.fingerprint and incident.fingerprint != found.mark:
        yield f"changed:{found.mark}"[:100], f"{found.subject}: otherwise than before"


def _write(incident: Incident, found: Found, names: list[str], now: datetime) -> None:
    """Put what was *found* on the row, in memory."""
    since = incident.data.get("since") or (found.since.isoformat() if found.since else None)
    incident.data |= {
        "since": since,
        "step": max(_step(found), incident.data.get("step", 0)),
        "names": names,
        "next_step": found.first.next_step,
    }
    if (jobs := _jobs(incident, found)) is not None:
        incident.data["jobs"] = jobs
    if is_worse(found.severity, incident.severity) or incident.pk is None:
        incident.severity = found.severity
    summary = found.first.text if len(found.problems) == 1 else f"{found.subject}: {', '.join(names)}"
    incident.fingerprint, incident.summary, incident.count = found.mark, summary[:255], found.count
    incident.run_id, incident.changed_at = found.first.run_id, now


def _jobs(incident: Incident, found: Found) -> list[str] | None:
    """Return whom an incident concerns that many share; None of one that is about one thing."""
    if not found.key.endswith(SHARED):
        return None
    return concerned(incident, (each.entry for each in found.problems if each.entry))


def _names(incident: Incident, found: Found) -> list[str]:
    if not found.terms.by_name and len(found.problems) == 1:
        return []
    now = [each.entry for each in found.problems if each.entry]
    told = incident.data.get("names") or [] if found.terms.by_name else []
    return list(dict.fromkeys([*told, *now]))[:READ]


def _step(found: Found) -> int:
    return max((step for step in found.terms.steps if step <= found.count), default=0)


def _notice(incident: Incident, found: Found, change: str, subject: str, using: str) -> Notice:
    first = found.first
    owned = first.row if len(found.problems) == 1 else None
    facts = first.facts if len(found.problems) == 1 else ()
    if owned is not None:
        said = {label for label, _ in facts}
        facts += tuple(each for each in recalled(first.kind, owned, using) if each[0] not in said)
    return Notice(
        change,
        first.kind,
        incident.severity,
        subject,
        facts=facts,
        text="\n".join(found.lines()),
        next_step=first.next_step,
        entry=first.entry if len(found.problems) == 1 else "",
        owner=owned.owner if owned else "",
        tags=tuple(map(str, owned.tags)) if owned else (),
        run_id=first.run_id if len(found.problems) == 1 else None,
        since=since_of(incident),
    )


def _over(incident: Incident, now: datetime) -> Notice:
    terms, entry = terms_of(incident.rule), incident.entry
    about = entry.name if entry else incident.key.partition(":")[2]
    names = incident.data.get("names") or []
    text = f"It was: {incident.summary}"
    if _is_out_of_sight(incident, now):
        # It would not be true that a slot was well again: there has been none.
        assert terms.window is not None
        subject = f"{'all jobs' if about == '*' else about} {terms.says}, and without another slot for "
        subject += f"{length(terms.window)}: told of no more"
        text += "\nWhether it is well its next slot will show."
    elif about == "*":
        subject = f"all jobs are {terms.over}" if len(names) != 1 else f"{names[0]} is {terms.over}"
    else:
        subject = f"{about or 'crons'} is {terms.over}"
    since = since_of(incident)
    return Notice(
        "closed",
        incident.rule,
        incident.severity,
        subject,
        facts=(("lasted", f"{length(now - since)}, until {utc(now)}"),),
        text=text,
        entry=entry.name if entry else "",
        owner=entry.owner if entry else "",
        tags=tuple(map(str, entry.tags)) if entry else (),
        run_id=incident.run_id,
        since=since,
    )


def _is_out_of_sight(incident: Incident, now: datetime) -> bool:
    """Say whether its rule finds it no more only because its run was planned too long ago."""
    window, run = terms_of(incident.rule).window, incident.run
    return window is not None and run is not None and run.planned_at < now - window


def since_of(incident: Incident) -> datetime:
    """Return since when it is so: as its rule says, or else since it was opened."""
    try:
        since = datetime.fromisoformat(incident.data.get("since") or "")
    except (TypeError, ValueError):
        return incident.opened_at
    return since if since.tzinfo else incident.opened_at


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:LONGEST_MARK]
