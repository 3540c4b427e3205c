"""Moments as verbs print them: those of crons.presentation.moments."""

from crons.presentation.moments import distance, iso, length, local

__all__ = ["distance", "iso", "length", "local"]
