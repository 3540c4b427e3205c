"""System checks: every mistake in settings and declarations, with an id and a hint.

=========== =======================================================================
crons.E001  a setting in CRONS cannot work
crons.E002  an executor cannot be imported
crons.E003  USE_TZ is off
crons.E004  a zone is unknown
crons.E005  the ledger's database is neither SQLite nor PostgreSQL
crons.E010  a job names an executor that does not exist
crons.W011  a job names a group without a limit
crons.E012  a job calls a management command that does not exist
crons.E013  the messages of a job would get nowhere
crons.W014  a job runs a program that is not on this machine
crons.E015  a module of declarations cannot be imported
crons.W030  a line of CRONJOBS cannot work
crons.W031  a line of a crontab file calls no declared job
crons.W032  a line and the code disagree on a schedule
crons.W033  a setting's name is nearly CRONJOBS, CRON_CLASSES or CRONS
crons.W034  django_crontab fires past the ledger: crons.compat.django_crontab is missing
crons.W035  django_crontab fires past the ledger: crons.compat.django_crontab stands after it
crons.W037  a class of CRON_CLASSES says something that nothing reads
crons.W038  django_cron is installed as an app
crons.W040  with --deploy: alerts go to ADMINS, and there are none
crons.W041  with --deploy: SQLite may forget what it has committed (synchronous=OFF)
crons.W042  with --deploy: the ledger is kept in memory
crons.W043  with --deploy: this process counts as part of a test suite
crons.W050  a job is run by Celery's workers and is neither idempotent nor uses context.atomic
crons.E051  a job is a Celery task with autoretry_for
crons.W052  a Celery application takes pickle from its broker
crons.W060  SQLite may be locked for longer than a lease bears
crons.W063  nothing but the lease notices that a connection went silent
crons.W070  a module of declarations cannot be imported, and the command can do without
crons.W071  a crontab file cannot be read
crons.W072  a class of CRON_CLASSES cannot work
crons.W073  a module declares jobs, and not every process imports it
crons.W074  two entries do the same at the same times
crons.W080  a line of CRONJOBS is to run @reboot
crons.W081  a setting of django-crontab holds in its own lines alone
crons.W082  a line of a crontab file calls the command of a job past the ledger
crons.W083  cron fires a line of CRONJOBS at other moments than crons
=========== =======================================================================

The docs/reference/checks.md has a section for each.
"""

from crons.checks.celery import check_celery_jobs, check_pickle
from crons.checks.declarations import check_django_cron, check_sources, check_spelling
from crons.checks.django_crontab import (
    check_clock_of_lines,
    check_crontab_settings,
    check_django_crontab,
    check_lines_at_reboot,
)
from crons.checks.doubles import check_doubles
from crons.checks.elsewhere import check_elsewhere
from crons.checks.jobs import check_commands, check_executors, check_groups, check_programs, check_routes
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
    "check_celery_jobs",
    "check_clock_of_lines",
    "check_commands",
    "check_crontab_settings",
    "check_deployment",
    "check_django_cron",
    "check_django_crontab",
    "check_doubles",
    "check_elsewhere",
    "check_executors",
    "check_groups",
    "check_lease",
    "check_lines_at_reboot",
    "check_pickle",
    "check_programs",
    "check_routes",
    "check_settings",
    "check_silence",
    "check_sources",
    "check_spelling",
    "check_suite",
    "check_vendor",
    "check_zones",
]
