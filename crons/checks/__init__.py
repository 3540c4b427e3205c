"""System checks: every mistake in settings and declarations, with an id and a hint.

The docs/reference/checks.md has a section for each id.
"""

from crons.checks.alerts import check_channels, check_pings
from crons.checks.declarations import check_sources, check_spelling
from crons.checks.doubles import check_doubles
from crons.checks.elsewhere import check_elsewhere
from crons.checks.jobs import check_commands, check_executors, check_groups, check_programs, check_routes, check_watched
from crons.checks.rights import check_rights
from crons.checks.site import (
    check_deployment,
    check_lease,
    check_settings,
    check_silence,
    check_suite,
    check_vendor,
    check_zones,
)

__all__ = [
    "check_channels",
    "check_commands",
    "check_deployment",
    "check_doubles",
    "check_elsewhere",
    "check_executors",
    "check_groups",
    "check_lease",
    "check_pings",
    "check_programs",
    "check_rights",
    "check_routes",
    "check_settings",
    "check_silence",
    "check_sources",
    "check_spelling",
    "check_suite",
    "check_vendor",
    "check_watched",
    "check_zones",
]
