"""Who looks at the clock: each trigger asks the dispatcher for a turn and supervises what it began."""
