"""Facts → the answer in sentences. Pure: the same facts give the same words."""

from __future__ import annotations

from crons.why import past, present
from crons.why.facts import Answer, Facts
from crons.why.saying import Story, crons, is_due, nearby_said, run_after_all, schedule_said

NO_SLOT = ("not_declared", "retired")


def answer(facts: Facts) -> Answer:
    """Say why the slot ended as it did, or what will become of it."""
    story = Story(facts)
    _tell_how_it_is_meant(story)
    entry, at, run = facts.entry, facts.asked.at, facts.run
    if run is not None:
        past.tell_run(story, run, present.tell_open)
    elif at > facts.now:
        present.tell_future(story)
    elif at <= entry.first_seen_at:
        _tell_before_declared(story)
    elif facts.range is not None:
        past.tell_range(story, facts.range)
    elif entry.retired_at is not None and at > entry.retired_at:
        _tell_retired(story)
    elif not facts.is_slot:
        _tell_no_slot(story)
    elif at > entry.accounted_until:
        present.tell_unrecorded(story)
    else:
        _tell_not_kept(story)
    return Answer(
        entry=entry.name,
        zone=story.zone,
        at=at,
        status=story.status,
        reason=story.reason,
        headline=f"{_subject(story)}: {story.ending}.",
        because=tuple(story.because),
        next_steps=tuple(story.next_steps or ["nothing."]),
        run=run.id if run is not None else None,
        facts=facts,
    )


def _subject(story: Story) -> str:
    facts = story.facts
    if facts.run is not None and facts.run.slot_at is None:
        return f"{facts.entry.name}, run {facts.run.id} by hand at {story.full(facts.run.planned_at)}"
    if facts.asked.beyond:
        return f"{facts.entry.name} at {facts.asked.text}"
    what = ", slot" if facts.is_slot and story.status not in NO_SLOT else " at"
    return f"{facts.entry.name}{what} {story.full(facts.asked.at)}"


def _tell_how_it_is_meant(story: Story) -> None:
    """Say what stands between what was asked and the moment: another name, the clock change, the day."""
    facts, asked = story.facts, story.facts.asked
    if facts.renamed is not None:
        since, by = story.full(facts.renamed.at), facts.renamed.by
        story.tell(f"{facts.former_name} is called {facts.entry.name} since {since}, by {by}; its history moved along.")
    if asked.of_day is not None and asked.of_day > 1:
        story.tell(f"That day has {asked.of_day} slots; this is the first. For another give its time too.")
    if asked.of_day == 0:
        story.tell("That day has no slot.")
    if asked.change is None or asked.shown is None:
        return
    stops, resumes, shown = (f"{each:%H:%M}" for each in (asked.change.stops, asked.change.resumes, asked.shown))
    day = f"On {asked.shown:%Y-%m-%d} the clock in {story.zone}"
    if asked.change.is_gap:
        then = f"What is due at a fixed time in between is due once, right after, at {resumes}."
        none = "Nothing of this schedule was due in between."
        never = f"{day} went forward from {stops} to {resumes}, so it never showed {shown}."
        story.tell(f"{never} {then if facts.is_slot else none}")
    elif asked.again_at is not None:
        again = story.full(asked.again_at)
        which = "both times are slots" if _is_due_again(facts) else "a fixed time is due the first time only"
        other = crons(f"why {facts.entry.name} {again[:10]}T{again[11:16]}{again[20:]}")
        story.tell(
            f"{day} went back from {stops} to {resumes}, so it showed {shown} twice; this is the first time, and "
            f"{which}. For the second: {other}"
        )


def _is_due_again(facts: Facts) -> bool:
    again_at, schedule = facts.asked.again_at, facts.schedule
    return again_at is not None and schedule is not None and is_due(schedule.text, facts.schedule_zone, again_at)


def _tell_before_declared(story: Story) -> None:
    entry = story.facts.entry
    first = story.full(entry.first_seen_at)
    story.end("not_declared", "no slot, because it was not declared yet")
    story.tell(f"{entry.name} was declared first at {first}; only what falls due after that is a slot.")
    story.tell(nearby_said("The first slot after", story.facts.after, story))
    if story.facts.is_slot:
        story.do(run_after_all(story))


def _tell_retired(story: Story) -> None:
    facts, entry = story.facts, story.facts.entry
    retired = next((each for each in reversed(facts.deeds) if each.verb == "retire"), None)
    story.end("retired", "not run, because it is retired")
    since = story.full(entry.retired_at) if entry.retired_at else ""
    who = f" by {retired.by}, whose code did not declare it" if retired is not None else ""
    last = f" ({retired.reason})" if retired is not None and retired.reason else ""
    story.tell(f"{entry.name} was retired at {since}{who}{last}; from then on nothing of it is due.")
    story.do(f"if it is to run: declare it again (is its app in INSTALLED_APPS?), then {crons('sync')}")


def _tell_no_slot(story: Story) -> None:
    facts = story.facts
    story.end("no_slot", "no slot")
    if not facts.entry.schedule:
        story.end("no_slot", "no slot, because it has no schedule")
        story.tell("It is only run by hand." if facts.asked.text else "It is only run by hand, and never was.")
        story.do(f"to run it: {crons(f'run {facts.entry.name}')}")
    else:
        story.tell(schedule_said(story), _under_the_other(story))
    story.tell(nearby_said("The slot before", facts.before, story))
    story.tell(nearby_said("The slot after", facts.after, story))
    for run in facts.requested:
        by = run.requested_by or "somebody"
        story.tell(f"{by} asked for run {run.id} at {story.at(run.planned_at)}: {run.verdict or run.state}.")
    if facts.requested:
        story.do(f"see {crons(f'show {facts.requested[0].id}')}")


def _under_the_other(story: Story) -> str:
    """Say so where the moment is a slot of the schedule before, or of the one after: that is what people remember."""
    facts = story.facts
    deeds = [(facts.set_by, "before", "Under the one before"), (facts.changed, "after", "Under the new one")]
    for deed, side, words in deeds:
        said = getattr(deed, side) if deed is not None else {}
        if is_due(str(said.get("schedule", "")), str(said.get("zone") or story.zone), facts.asked.at):
            return f"{words} it would have been a slot."
    return ""


def _tell_not_kept(story: Story) -> None:
    facts = story.facts
    story.tell(schedule_said(story))
    if facts.kept is not None and facts.asked.at < facts.now - facts.kept:
        story.end("not_kept", "no longer known, because its row was pruned")
        story.tell(
            f"It was accounted for, and rows of its age are pruned: CRONS['KEEP'] keeps them {facts.kept.days} days or "
            "longer, by their verdict."
        )
        story.do("to keep rows longer from now on: raise CRONS['KEEP']")
        return
    story.end("not_kept", "not known, because its row is gone")
    until = story.full(facts.entry.accounted_until)
    story.tell(f"The entry is accounted for until {until}, and neither a run nor a range holds this slot.")
    story.do(
        "see who deleted rows by hand, or restored a backup",
        run_after_all(story),
    )
