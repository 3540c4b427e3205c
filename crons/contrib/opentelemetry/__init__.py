"""Spans of OpenTelemetry: one for each attempt, where the project traces."""
