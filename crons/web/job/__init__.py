"""The page of one job: what became of its slots, how long it takes, what comes, by which rules; what can be done."""
