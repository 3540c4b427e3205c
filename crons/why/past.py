"""What became of a slot that has a row: its run, or the range that wrote it off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import itemgetter

from crons.presentation import length
from crons.verdicts import Kind, Reason, State, Verdict
from crons.why.facts import Deed, PauseFacts, RangeFacts, RunFacts
from crons.why.saying import (
    Story,
    attempt_said,
    because_of,
    crons,
    paused_what,
    resume_line,
    run_after_all,
    schedule_said,
    slot_of,
)


def tell_run(story: Story, run: RunFacts, tell_open: Callable[[Story, RunFacts], None]) -> None:
    """Tell of a run from its slot to its verdict; of one that is not over, *tell_open* says what it waits for."""
    if run.slot_at is not None:
        story.tell(schedule_said(story))
    _tell_recorded(story, run)
    _tell_second(story, run)
    _tell_wait(story, run)
    if run.tries > len(run.attempts):
        story.tell(f"It was tried {run.tries} times; these are the last {len(run.attempts)}.")
    asked = [(each.at, _asked_again(story, each)) for each in story.facts.of_run if each.verb == "retry"]
    tried = [(each.begun_at, attempt_said(each, story)) for each in run.attempts]
    story.tell(*(sentence for _, sentence in sorted(asked + tried, key=itemgetter(0))))
    if run.state != State.DONE:
        tell_open(story, run)
        return
    story.end(run.verdict, run.verdict.replace("_", " "), run.reason)
    _ENDINGS[Verdict(run.verdict)](story, run)
    if any(each.late_outcome for each in run.attempts):
        late = next(each for each in run.attempts if each.late_outcome)
        outcome = late.late_outcome.replace("_", " ")
        story.tell(f"After that, attempt {late.number} reported that it had {outcome}; the verdict stays.")


def tell_range(story: Story, written_off: RangeFacts) -> None:
    """Tell of slots that were written off together."""
    facts, reason = story.facts, written_off.reason
    story.tell(schedule_said(story))
    story.end(written_off.verdict, f"{written_off.verdict}, because {_CAUSES.get(reason, reason)}", reason)
    if reason == Reason.PAUSED:
        _tell_pause(story, written_off)
    elif reason == Reason.RETIRED:
        _tell_retired_then(story)
    else:
        _tell_silence(story)
        story.tell(_why_dropped(story, written_off))
        _look_into_silence(story)
    if written_off.count > 1:
        first, last = story.at(written_off.first_at), story.at(written_off.last_at)
        story.tell(f"{written_off.count} slots ended so together, from {first} to {last}.")
    if facts.entry.retired_at is None:
        story.do(run_after_all(story))


def _tell_recorded(story: Story, run: RunFacts) -> None:
    by = run.requested_by or "somebody"
    if run.kind == Kind.MANUAL:
        story.tell(f"{by} asked for it at {story.at(run.recorded_at)} (trigger {run.trigger}); no slot was due.")
    elif run.kind == Kind.BACKFILL:
        story.tell(f"{by} had the slot filled in at {story.at(run.recorded_at)}, by a backfill, as run {run.id}.")
    elif story.facts.silence is not None:
        _tell_silence(story)
        story.tell(f"So it was recorded {length(run.recorded_at - run.planned_at)} late, as run {run.id}.")
    else:
        who = f"{run.trigger} ({run.requested_by})" if run.requested_by else run.trigger
        story.tell(f"{who} recorded it at {story.at(run.recorded_at)} as run {run.id}.")


def _tell_second(story: Story, run: RunFacts) -> None:
    if run.came_second:
        told = ", ".join(f"{who} at {story.at(at)}" for who, at in run.came_second)
        more = f", and {run.more_came} more" if run.more_came else ""
        story.tell(f"These came second, and found it recorded: {told}{more}.")


def _asked_again(story: Story, deed: Deed) -> str:
    verdict = str(deed.before.get("verdict", "")).replace("_", " ")
    detail = because_of(str(deed.before.get("detail") or ""))
    asked = f"{deed.by} asked at {story.at(deed.at)} for another try{because_of(deed.reason)}"
    return f"{asked}. It had ended as {verdict}{detail}."


def _begun_at(run: RunFacts) -> datetime | None:
    """Return when its first try began, where that is known."""
    return run.attempts[0].begun_at if run.attempts and run.tries == len(run.attempts) else None


def _tell_wait(story: Story, run: RunFacts) -> None:
    """Say what kept a run that was recorded from beginning at once."""
    began = _begun_at(run)
    if began is None or run.asked_at is not None or began - run.recorded_at <= story.facts.grace:
        return
    opened_at, place = story.opening(run.planned_at), "for a free place"
    if opened_at > run.planned_at:
        place = "for its window" if began - opened_at <= story.facts.grace else "for its window and a free place"
    waited, why = length(began - run.recorded_at), _paused_between(story, run) or place
    story.tell(f"From {story.at(run.recorded_at)} on it waited {waited} {why}.")


def _tell_silence(story: Story) -> None:
    silence, entry = story.facts.silence, story.facts.entry
    if silence is None:
        return
    until = story.at(silence.until)
    if silence.others:
        story.tell(
            f"Slots of other entries were recorded in between, but {entry.name} was looked at only at {until}: until "
            "then it was parked, or no running host had its time zone, or its runs were too many for a pass."
        )
    elif silence.last_at is not None:
        story.tell(
            f"Nothing looked at the clock from {story.at(silence.last_at)}, when a slot of {silence.last_of} was "
            f"recorded last, to {until}: no scheduler ran, or the database was away."
        )
    else:
        story.tell(f"Nothing is known to have looked at the clock before {until}.")


def _succeeded(story: Story, run: RunFacts) -> None:
    said = "succeeded" if run.tries <= 1 else f"succeeded on try {run.tries}"
    began = _begun_at(run)
    if run.kind == Kind.SLOT and run.asked_at is None and began is not None:
        opened_at = story.opening(run.planned_at)
        is_late = began - opened_at > story.facts.grace
        if opened_at > run.planned_at:
            after = f"{length(began - opened_at)} after" if is_late else "when"
            said += f", begun {after} its window opened"
        else:
            said += f", begun {length(began - opened_at)} late" if is_late else ", begun on time"
    story.end(run.verdict, said)
    _look_into_silence(story)


def _failed(story: Story, run: RunFacts) -> None:
    entry = story.facts.entry
    if run.detail and not any(each.error for each in run.attempts):
        story.tell(f"It says: {run.detail}.")
    if not entry.retries:
        story.tell("The job has no retry=, so a failure is not tried again by itself.")
    elif run.tries > entry.retries:
        tries = "one more try" if entry.retries == 1 else f"{entry.retries} more tries"
        story.tell(f"retry= allows {tries} after the first, and no try is left.")
    elif run.asked_at is None:
        story.tell("The job gave up: what it raised is not tried again, whatever retry= says.")
    _tell_next(story)
    story.do(f"read what it wrote: {crons(f'log {run.id}')}", f"when mended: {crons(f'retry {run.id}')}")


def _timed_out(story: Story, run: RunFacts) -> None:
    again = "" if story.facts.entry.is_idempotent else " It is not idempotent, so it is not tried again by itself."
    story.tell(f"It was killed with everything that it had started, and may have done a part of its work.{again}")
    _tell_next(story)
    story.do(
        f"see what it was at: {crons(f'log {run.id}')}",
        f"raise its timeout=, or have it do less; then: {crons(f'retry {run.id}')}",
    )


def _lost(story: Story, run: RunFacts) -> None:
    if run.reason == Reason.RESTORED:
        story.end(run.verdict, "lost (restored)", run.reason)
        story.tell(f"A backup was restored: {run.detail}.")
    elif story.facts.entry.is_idempotent:
        story.tell("It is idempotent and was begun again until its tries were used up.")
    else:
        story.tell(
            "It may have done its work, or a part of it, or nothing. It is not idempotent, so it is not begun again by "
            "itself."
        )
    _tell_next(story)
    story.do(f"see whether its work is done; if it is not: {crons(f'retry {run.id}')}")


def _cancelled(story: Story, run: RunFacts) -> None:
    deed = next((each for each in reversed(story.facts.of_run) if each.verb == "cancel"), None)
    deed = deed or next((each for each in reversed(story.facts.deeds) if _cancels(each, run)), None)
    if deed is not None:
        began = "" if run.attempts else " It had not begun."
        story.tell(f"{deed.by} had it stopped at {story.at(deed.at)}{because_of(deed.reason)}.{began}")
    elif run.detail:
        story.tell(f"It was stopped at {story.at(run.ended_at)}: {run.detail}." if run.ended_at else run.detail)
    _tell_next(story)
    story.do(f"to run it after all: {crons(f'retry {run.id}')}")


def _cancels(deed: Deed, run: RunFacts) -> bool:
    return deed.verb == "cancel" and run.id in (deed.after.get("runs") or [])


def _skipped(story: Story, run: RunFacts) -> None:
    story.end(run.verdict, "skipped, because an earlier run was still going", run.reason)
    way = story.facts.overlapped
    if way is None:
        story.tell(f"It says: {run.detail}." if run.detail else "")
        story.do(f"to run it after all: {crons(f'retry {run.id}')}")
        return
    began = min((each.begun_at for each in way.attempts), default=None)
    since = f", which began at {story.at(began)} on {way.attempts[-1].host}" if began is not None else ""
    ended = f"and ended at {story.at(way.ended_at)}" if way.ended_at is not None else "and goes on still"
    verdict = f" ({way.verdict.replace('_', ' ')})" if way.verdict else ""
    story.tell(
        f"In its way was {slot_of(way, story)}{since} {ended}{verdict}. The job says overlap='skip': a slot is not "
        "run while an earlier run goes on."
    )
    _tell_next(story)
    if way.ended_at is None:
        story.do(f"see what holds it up: {crons(f'log {way.id}')}; to stop it: {crons(f'cancel {way.id} --reason …')}")
    story.do(f"to run it after all: {crons(f'retry {run.id}')}")


def _missed(story: Story, run: RunFacts) -> None:
    story.end(run.verdict, f"missed ({run.reason.replace('_', ' ')})", run.reason)
    if run.reason == Reason.CATCH_UP:
        story.end(run.verdict, "missed, because it had not begun when the next slot came", run.reason)
        place = "its window or a free place" if story.facts.entry.window is not None else "a free place"
        story.tell(f"It waited for {place}, and {run.detail}. {_instead(story)}".rstrip())
    elif run.reason == Reason.NOT_STARTED:
        nobody = f"no worker took it (it was sent {run.sends} times)" if run.sends else "no place came free"
        nobody = "its window did not open" if run.detail.startswith("its window") else nobody
        story.end(run.verdict, f"missed, because {nobody} in time", run.reason)
        by = f"{story.at(run.start_before)}: that is its deadline" if run.start_before else "its deadline"
        story.tell(f"It had to begin by {by}. {'' if story.facts.entry.deadline else CATCH_UP_NONE}".rstrip())
        last = run.detail.partition("; of the last: ")[2]
        story.tell(f"Of its last message: {last}." if last else "")
    elif run.detail:
        story.tell(f"It was not begun: {run.detail}.")
    _tell_next(story)
    place = f"raise CRONS['MAX_RUNNING'] or the limit of its group, or see {crons('health')}"
    if story.facts.entry.window is not None:
        place = f"give it a schedule whose slots lie in its window; or {place}"
    story.do(f"to run it after all: {crons(f'retry {run.id}')}", f"if that happens often: {place}")


def _superseded(story: Story, run: RunFacts) -> None:
    newer = story.facts.newer
    which = slot_of(newer, story) if newer is not None else "a newer slot"
    story.end(run.verdict, "superseded, because a newer slot succeeded before its next try", run.reason)
    story.tell(f"Before its next try, {which} succeeded, so this one was given up.")
    story.do(f"if this slot matters by itself: {crons(f'retry {run.id}')}")


def _tell_pause(story: Story, written_off: RangeFacts) -> None:
    facts = story.facts
    pause = written_off.pause or _pause_of_then(story)
    story.end(written_off.verdict, "skipped, because it was paused", written_off.reason)
    if pause is None:
        story.tell("It was paused; who paused it is no longer known.")
        return
    since = story.at(pause.since) if pause.since else "a moment that is not known"
    until = f" until {story.at(pause.until)}" if pause.until else " until somebody resumes it"
    story.tell(f"{pause.by or 'Somebody'} paused {paused_what(pause)} at {since}{until}{because_of(pause.reason)}.")
    ended = _resumed(story, pause)
    if ended is not None:
        story.tell(f"{ended.by} resumed it at {story.at(ended.at)}.")
    elif pause.until is not None and pause.until <= facts.now:
        story.tell(f"The pause ended by itself at {story.at(pause.until)}.")
    elif facts.pause is not None:
        story.tell("It is paused still, and each further slot is skipped.")
        story.do(f"to end the pause: {resume_line(facts.pause, facts.entry.name)}")
    else:
        story.tell("It is not paused any more.")


def _pause_of_then(story: Story) -> PauseFacts | None:
    """Return the newest pause before the slot, of ranges that were written before they kept it."""
    at = story.facts.asked.at
    deed = next((each for each in reversed(story.facts.deeds) if each.verb == "pause" and each.at <= at), None)
    if deed is None:
        return None
    scope = "" if deed.about == "entry" else deed.about
    return PauseFacts(deed.at, None, deed.by, deed.reason, scope)


def _resumed(story: Story, pause: PauseFacts) -> Deed | None:
    about = pause.scope or "entry"
    later = (each for each in story.facts.deeds if each.verb == "resume" and each.at >= story.facts.asked.at)
    found = next((each for each in later if each.about == about), None)
    return None if found and pause.until is not None and pause.until <= found.at else found


def _paused_between(story: Story, run: RunFacts) -> str:
    """Say which pause held a recorded run up before it began."""
    began = run.attempts[0].begun_at
    deeds = (each for each in reversed(story.facts.deeds) if each.verb == "pause" and each.at <= began)
    deed = next(deeds, None)
    resumed = deed and next(
        (each for each in story.facts.deeds if each.verb == "resume" and deed.at <= each.at <= began), None
    )
    if deed is None or resumed is None or resumed.at < run.recorded_at:
        return ""
    what = "everything" if deed.about == "all" else "its tag" if deed.about.startswith("tag:") else "it"
    return (
        f"because {deed.by} had paused {what} at {story.at(deed.at)}{because_of(deed.reason)}; {resumed.by} resumed it "
        f"at {story.at(resumed.at)}"
    )


def _tell_retired_then(story: Story) -> None:
    at, deeds = story.facts.asked.at, story.facts.deeds
    story.end("skipped", "skipped, because it was retired", Reason.RETIRED)
    gone = next((each for each in reversed(deeds) if each.verb == "retire" and each.at <= at), None)
    back = next((each for each in deeds if each.verb == "return" and each.at >= at), None)
    if gone is not None:
        story.tell(f"{gone.by} had retired it at {story.at(gone.at)}, because its code did not declare it.")
    else:
        story.tell("No code declared the entry then.")
    if back is not None:
        host, release = back.after.get("host"), back.after.get("release")
        where = (f" on {host}" if host else "") + (f", release {release}" if release else "")
        story.tell(f"{back.by}{where} declared it again at {story.at(back.at)}.")


def _why_dropped(story: Story, written_off: RangeFacts) -> str:
    entry, at = story.facts.entry, story.at(written_off.recorded_at)
    looked = f"When {written_off.trigger} looked at {at}"
    if written_off.reason == Reason.DEADLINE:
        allowed = f" of {length(entry.deadline)}" if entry.deadline is not None else ""
        return f"{looked}, the job's deadline{allowed} had passed."
    if written_off.reason == Reason.CAP:
        return f"{looked}, more slots were overdue than the job's cap lets through at once. {_instead(story)}".rstrip()
    if entry.catch_up == "none":
        return f"{looked}, it was too late: with catch_up='none' an overdue slot is not run."
    why = f"newer slots were overdue too: with catch_up={entry.catch_up!r} only the newest is run."
    return f"{looked}, {why} {_instead(story)}".rstrip()


def _instead(story: Story) -> str:
    newer = story.facts.newer
    if newer is None:
        return ""
    return f"Instead of it came {slot_of(newer, story)}: {(newer.verdict or newer.state).replace('_', ' ')}."


def _look_into_silence(story: Story) -> None:
    silence = story.facts.silence
    if silence is not None and not silence.others:
        since = f" from {story.at(silence.last_at)} on" if silence.last_at is not None else ""
        story.do(f"find out why nothing looked at the clock: the log of the scheduler, or of cron,{since}".rstrip(","))


def _tell_next(story: Story) -> None:
    facts = story.facts
    if facts.next_at is not None:
        skipped = facts.pause is not None and (facts.pause.until is None or facts.next_at <= facts.pause.until)
        story.tell(f"The next slot is {story.at(facts.next_at)}{', and is skipped: it is paused' if skipped else ''}.")


CATCH_UP_NONE = "With catch_up='none' an overdue slot is not run."
_CAUSES: dict[str, str] = {
    Reason.CATCH_UP: "nothing looked at it in time",
    Reason.DEADLINE: "nothing looked at it before its deadline",
    Reason.CAP: "more slots were overdue than its cap lets through",
}
_ENDINGS: dict[Verdict, Callable[[Story, RunFacts], None]] = {
    Verdict.SUCCEEDED: _succeeded,
    Verdict.FAILED: _failed,
    Verdict.TIMED_OUT: _timed_out,
    Verdict.LOST: _lost,
    Verdict.CANCELLED: _cancelled,
    Verdict.SKIPPED: _skipped,
    Verdict.MISSED: _missed,
    Verdict.SUPERSEDED: _superseded,
}
