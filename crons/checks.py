"""System checks: every mistake in settings and declarations, with an id and a hint."""
