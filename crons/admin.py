"""Where Django looks for the pages of an app's tables in its admin; they lie in crons.web.admin."""

import crons.web.admin  # noqa: F401
