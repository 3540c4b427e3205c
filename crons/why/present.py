"""What has not ended: runs that go on or wait, slots that nobody has recorded, and slots to come."""

from __future__ import annotations

from crons.presentation import WaitsFor, length, waits_for, waits_for_window
from crons.verdicts import Outcome, State
from crons.why.facts import InTheWay, PauseFacts, RunFacts, Scheduler
from crons.why.saying import (
    Story,
    because_of,
    crons,
    listed,
    nearby_said,
    paused_what,
    resume_line,
    schedule_said,
    scheduler_said,
    slot_of,
)


def tell_open(story: Story, run: RunFacts) -> None:
    """Say what a run that is not over does or waits for."""
    now = story.facts.now
    if run.state == State.RUNNING:
        _tell_running(story, run)
    elif run.wake_at is not None and run.wake_at > now and run.state == State.WAITING:
        goes_on = bool(run.attempts) and run.attempts[-1].outcome == Outcome.CONTINUED
        again = "it goes on" if goes_on else "it is tried again"
        story.end("waiting", f"not over: {again} at {story.at(run.wake_at)} ({story.away(run.wake_at)})")
        if story.facts.entry.window is not None and run.asked_at is None:
            story.tell(f"Its job begins only from {story.facts.entry.window} ({story.facts.entry.zone}).")
        story.do(f"nothing; to give it up: {crons(f'cancel {run.id} --reason …')}")
    elif waits_for_window(run.state, run.sends, run.wake_at, story.facts.entry.window, now):
        _tell_closed(story, run)
    elif run.state == State.SENT:
        _tell_sent(story, run)
    else:
        _tell_due(story, run)


def _tell_closed(story: Story, run: RunFacts) -> None:
    window, opens_at = story.facts.entry.window, run.wake_at
    assert window is not None
    assert opens_at is not None
    opens = f"opens at {story.at(opens_at)} ({story.away(opens_at)})"
    story.end("due", f"not begun yet, and {WaitsFor.WINDOW.briefly}, which {opens}", WaitsFor.WINDOW.value)
    story.tell(f"Its job begins only from {window} ({story.facts.entry.zone}).")
    if run.start_before is not None and run.start_before < opens_at:
        story.tell(f"It must begin by {story.at(run.start_before)}, which is before that: it will be missed.")
    if story.facts.entry.catch_up == "latest":
        story.tell("If a newer slot falls due before it has begun, that one waits in its place.")
    story.do(
        f"nothing; to run the job now all the same: {crons(f'run {story.facts.entry.name} --manual')}",
        f"to give this slot up: {crons(f'cancel {run.id} --reason …')}",
    )


def tell_unrecorded(story: Story) -> None:
    """Say why a slot that has come has no row yet."""
    facts, entry = story.facts, story.facts.entry
    late = facts.now - facts.asked.at
    story.end("unrecorded", f"not recorded yet, {length(late)} after it fell due")
    story.tell(schedule_said(story))
    if entry.parked_reason:
        story.end("unrecorded", "not recorded, because the entry cannot be planned")
        _tell_parked(story)
        return
    if not facts.schedulers:
        _tell_nobody_looks(story, _made_up_for(story))
        return
    able = [each for each in facts.schedulers if not each.lacks_zone]
    if not able:
        hosts = listed(each.host for each in facts.schedulers)
        story.tell(f"No running host can plan it: {hosts} has no time zone data of {entry.zone!r}.")
        story.do("install tzdata there, and start the scheduler again")
    elif late <= facts.grace:
        story.tell(f"{scheduler_said(able[0])} runs, and records it at its next look.")
    else:
        story.tell(f"{scheduler_said(able[0])} runs, and has not recorded it: is it stalled, or the database too slow?")
        story.do(f"see {crons('health')}; if it stays so, start that scheduler again")


def tell_future(story: Story) -> None:
    """Say what will become of a moment to come, if nothing changes."""
    facts, entry, at = story.facts, story.facts.entry, story.facts.asked.at
    if facts.asked.beyond:
        story.end("no_slot", "no slot, because it is beyond the calendar")
        story.tell("Nothing is planned from the year 9999 on.", schedule_said(story))
    elif entry.retired_at is not None:
        story.end("retired", "will not run, because it is retired")
        story.tell(
            f"{entry.name} was retired at {story.full(entry.retired_at)}: no code declares it, so nothing is due."
        )
        story.do(f"if it is to run: declare it again, then {crons('sync')}")
    elif not facts.is_slot:
        story.end("no_slot", "will be no slot")
        story.tell(schedule_said(story))
        story.tell(
            nearby_said("The slot before", facts.before, story), nearby_said("The slot after", facts.after, story)
        )
        if not entry.schedule:
            story.do(f"to run it: {crons(f'run {entry.name}')}")
    elif entry.parked_reason:
        story.tell(schedule_said(story))
        story.end("to_come", "will not be recorded, because the entry cannot be planned")
        _tell_parked(story)
    else:
        story.tell(schedule_said(story))
        _tell_coming(story, at)


def _tell_coming(story: Story, at: object) -> None:
    facts, entry = story.facts, story.facts.entry
    pause, away = facts.pause, story.away(facts.asked.at)
    if pause is not None and (pause.until is None or facts.asked.at <= pause.until):
        story.end("to_come", f"to come {away}, and will be skipped, because it is paused", "paused")
        _tell_pause(story, pause)
        return
    story.end("to_come", f"to come {away}, and will run if nothing changes")
    if not facts.schedulers and not _ticks(story):
        story.end("to_come", f"to come {away}, and nothing will run it, because no scheduler runs")
    elif not _knowing(story) and facts.schedulers:
        story.end("to_come", f"to come {away}, and nothing will run it, because no scheduler knows it", "undeclared")
    _tell_window_to_come(story)
    if pause is not None and pause.until is not None:
        story.tell(f"{_paused_by(story, pause)}; that ends before, at {story.at(pause.until)}.")
    _tell_who_will(story)
    way = facts.in_the_way.going if facts.in_the_way is not None else None
    if way is not None and not entry.allows_overlap:
        began = f" since {story.at(way.attempts[-1].begun_at)}" if way.attempts else ""
        then = "this slot waits for it" if entry.catch_up == "all" else "this slot is skipped (overlap)"
        story.tell(f"{slot_of(way, story).capitalize()} goes on{began}: if it still does then, {then}.")


def _tell_window_to_come(story: Story) -> None:
    at = story.facts.asked.at
    opens_at = story.opening(at)
    if opens_at > at:
        window = f"{story.facts.entry.window} ({story.facts.entry.zone})"
        story.tell(f"Its job begins only from {window}: this slot will wait until {story.at(opens_at)}.")


def _tell_who_will(story: Story) -> None:
    facts, entry, knowing = story.facts, story.facts.entry, _knowing(story)
    if not facts.schedulers:
        _tell_nobody_looks(story, _made_up_for(story))
    elif not knowing:
        _tell_unknown(story, list(facts.schedulers))
    else:
        story.tell(f"{scheduler_said(knowing[0])} looks at the clock and knows {entry.name}.")


def _tell_running(story: Story, run: RunFacts) -> None:
    going = run.attempts[-1] if run.attempts else None
    since = f" for {length(story.facts.now - going.begun_at)}" if going is not None else ""
    story.end("running", f"running{since}")
    if going is not None and going.cancel_requested_at is not None:
        story.tell(f"It was asked to stop at {story.at(going.cancel_requested_at)}, and has not ended yet.")
    if going is not None and going.lease_until is not None and going.lease_until < story.facts.now:
        story.tell(
            f"Nothing has been heard of its process since its lease ended at {story.at(going.lease_until)}: the next "
            "look of a scheduler declares it lost, unless it lives on that scheduler's own host."
        )
    story.do(
        f"see what it writes: {crons(f'log {run.id} --follow')}",
        f"to stop it: {crons(f'cancel {run.id} --reason …')}",
    )


def _tell_sent(story: Story, run: RunFacts) -> None:
    entry, waits = story.facts.entry, story.facts.now - run.planned_at
    story.end("sent", f"sent to {entry.executor!r} and taken by no worker, {length(waits)} after it fell due")
    again = f"; it is sent again at {story.at(run.wake_at)}" if run.wake_at is not None else ""
    detail = f" Of the last message: {run.detail}." if run.detail and run.detail != f"sent to {entry.executor}" else ""
    story.tell(f"It was sent {run.sends} time(s), and no worker has begun it{again}.{detail}")
    if run.start_before is not None:
        story.tell(f"Begun by nobody before {story.at(run.start_before)}, it is missed.")
    story.do(f"see whether a worker of {entry.executor!r} runs, listens to the queue, and has this code and database")


def _tell_due(story: Story, run: RunFacts) -> None:
    """Say what is in the way of a run that could begin now."""
    facts, entry, way = story.facts, story.facts.entry, story.facts.in_the_way
    since = max(run.planned_at, run.wake_at or run.planned_at) if run.asked_at is not None else run.planned_at
    waited = length(facts.now - since)
    status = "waiting" if run.state == State.WAITING else "due"
    pause, going = facts.pause, way.going if way is not None else None
    group_running = way.group_running if way is not None else 0
    what = waits_for(
        state=run.state,
        kind=run.kind,
        asked_at=run.asked_at,
        paused_at=pause.since if pause is not None else None,
        run_is_going=going is not None,
        group_is_full=group_running > 0,
    )
    story.end(status, f"due for {waited}, and {what.briefly}", what.value)
    if what is WaitsFor.RESUME and pause is not None:
        _tell_pause(story, pause)
    elif what is WaitsFor.RUN and going is not None:
        began = f", which began at {story.at(going.attempts[-1].begun_at)}" if going.attempts else ""
        story.tell(f"In its way is {slot_of(going, story)}{began} and goes on.")
        story.do(f"see what that run does: {crons(f'log {going.id} --follow')}")
    elif what is WaitsFor.GROUP and way is not None:
        members = (each for each in way.busy if each.group == entry.group)
        taken = listed(f"{each.entry} (run {each.run}, since {story.at(each.begun_at)})" for each in members)
        story.tell(f"Of the group {entry.group!r} no more than {group_running} may run, over all hosts: {taken}.")
        story.do(f"wait, or raise the group's limit in CRONS['GROUPS']; see {crons('list')}")
    else:
        _tell_who_could_begin(story, run)


def _tell_who_could_begin(story: Story, run: RunFacts) -> None:
    facts, entry, knowing = story.facts, story.facts.entry, _knowing(story)
    if run.detail.startswith("not started on"):
        story.tell(f"It was handed over and came back: {run.detail}.")
    if not facts.schedulers:
        _tell_nobody_looks(story, "begins it")
    elif not knowing:
        _tell_unknown(story, list(facts.schedulers))
    elif all(_is_full(story, each) for each in knowing):
        story.end(story.status, story.ending.replace("not begun", "waits for a free place"), "full")
        for each in knowing:
            story.tell(_places_said(story, each))
        story.do(f"wait, stop one of these ({crons('cancel RUN_ID --reason …')}), or raise CRONS['MAX_RUNNING']")
    elif all(each.is_draining for each in knowing):
        story.tell(f"{scheduler_said(knowing[0])} is stopping, and begins nothing more.")
        story.do(f"start another: {crons('serve')}")
    else:
        ready = next(each for each in knowing if not each.is_draining)
        story.tell(f"{scheduler_said(ready)} runs, knows {entry.name} and has room: it begins it at its next look.")
        story.do(f"if it stays so: {crons('health')}")


def _places_said(story: Story, scheduler: Scheduler) -> str:
    """Say what takes a scheduler's places; how many it has stands in no row, only in its own settings."""
    way = story.facts.in_the_way or InTheWay()
    mine = [each for each in way.busy if each.instance == scheduler.instance]
    taken = listed(f"{each.entry} (run {each.run}, since {story.at(each.begun_at)})" for each in mine)
    if len(mine) > way.places:
        higher = f"its CRONS['MAX_RUNNING'] is higher than here, where it is {way.places}"
        return f"{scheduler_said(scheduler)} has {len(mine)} attempts going ({higher}): {taken}."
    said = f"if its CRONS['MAX_RUNNING'] is {way.places}, as here"
    return f"All {len(mine)} places of {scheduler_said(scheduler)} are taken, {said}: {taken}."


def _is_full(story: Story, scheduler: Scheduler) -> bool:
    way = story.facts.in_the_way
    return way is not None and sum(each.instance == scheduler.instance for each in way.busy) >= way.places


def _knowing(story: Story) -> list[Scheduler]:
    return [each for each in story.facts.schedulers if each.knows is not False]


def _ticks(story: Story) -> bool:
    """Whether a process that comes and goes, such as a tick, has lately said that it declares the entry."""
    vouched = story.facts.entry.vouched_until
    return vouched is not None and vouched >= story.facts.now


def _made_up_for(story: Story) -> str:
    """Say what the next look at the clock will do about slots that have come by then."""
    entry = story.facts.entry
    return {
        "none": "records what is overdue by then as missed (catch_up='none')",
        "latest": "runs the newest slot that is overdue by then (catch_up='latest')",
        "all": "runs all that is overdue by then in turn (catch_up='all')",
    }[entry.catch_up]


def _tell_nobody_looks(story: Story, then: str) -> None:
    entry = story.facts.entry
    if _ticks(story) and entry.declared_at is not None:
        story.tell(
            f"No scheduler runs all the time; {entry.declared_by} looks at the clock now and then (noted at "
            f"{story.at(entry.declared_at)}), and its next look {then}."
        )
        story.do(f"if it stays so, see why cron does not call {crons('tick')}: {crons('doctor')}")
        return
    story.tell(
        f"No scheduler runs now; {entry.name} was looked at last at {story.at(entry.accounted_until)}. The first that "
        f"looks at the clock {then}."
    )
    story.do(f"start one: {crons('serve')}; or see why cron does not call {crons('tick')}: {crons('doctor')}")


def _tell_unknown(story: Story, schedulers: list[Scheduler]) -> None:
    entry = story.facts.entry
    declared = f"last declared at {story.at(entry.declared_at)} by {entry.declared_by}" if entry.declared_at else ""
    story.reason = "undeclared"
    story.tell(
        f"{listed(map(scheduler_said, schedulers))} runs, and its code does not declare {entry.name}"
        f"{f' ({declared})' if declared else ''}: it begins only jobs that it knows."
    )
    story.do(f"start a scheduler that has the job's code; if the job is gone for good: {crons('sync')} retires it")


def _tell_parked(story: Story) -> None:
    story.tell(f"The entry is parked, because it cannot be planned: {story.facts.entry.parked_reason}.")
    story.do(f"mend that, then {crons('sync')}; nothing of it is lost meanwhile")


def _tell_pause(story: Story, pause: PauseFacts) -> None:
    story.tell(f"{_paused_by(story, pause)}.")
    story.do(f"to end the pause: {resume_line(pause, story.facts.entry.name)}")


def _paused_by(story: Story, pause: PauseFacts) -> str:
    since = f" at {story.at(pause.since)}" if pause.since else ""
    until = f" until {story.at(pause.until)}" if pause.until else " until somebody resumes it"
    return f"{pause.by or 'Somebody'} paused {paused_what(pause)}{since}{until}{because_of(pause.reason)}"
