"""Moments as verbs print them: those of crons.moments."""

from crons.moments import distance, iso, length, local

__all__ = ["distance", "iso", "length", "local"]
