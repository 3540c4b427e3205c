"""Measurements against TARGETS, as ratios within one run; `make bench`."""
