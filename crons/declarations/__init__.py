"""From what code and sources declare to rows: the only writer of what entries are."""
