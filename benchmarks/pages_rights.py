"""A hook as a project writes one: "team" sees one owner's entries, "idle" one that never ran, everybody else all."""

from typing import Any

from django.db.models import Q

NARROWED = {"team": Q(owner="team7"), "idle": Q(name="job_000003")}


def of_a_team(user: Any, permission: str) -> bool | Q:
    """Say which entries *user* sees."""
    return NARROWED.get(user.get_username(), True)
