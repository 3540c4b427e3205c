"""The list of jobs: found, ordered and paged along indexes, each with its last slots; operated many at a time."""
