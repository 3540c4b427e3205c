#!/usr/bin/env bash
# Run checks and tests on Django 6.1, on SQLite only, in a virtual environment of its own ($VENV).
#
# The core's tests run without crons/contrib: one run shows both (docs/adr/0043). Of the others run those that do not
# touch the database, and all that are about another system, but for its real workers, which take their minutes: so the
# newest Python runs each test once here or on PostgreSQL (docs/adr/0040).
# What needs django-celery-beat is left out by its name and counted: its releases take no Django above 6.0 yet.
#
#   COVERAGE   not empty: note beside what .coverage holds which lines and branches of crons ran
set -euo pipefail
cd "$(dirname "$0")/.."

LOCK=requirements-django61.lock scripts/setup.sh
python=$VENV/bin/python
mapfile -t beat < <(scripts/beat_tests.sh)
without_beat=("${beat[@]/#/--ignore=}")
measured=()
if [[ -n ${COVERAGE:-} ]]; then
    # A copy of the tree that is deleted after its run writes here too.
    export COVERAGE_FILE=$PWD/.coverage
    measured=(--cov --cov-append --cov-report= --cov-fail-under=0)
fi
# Of the core: what has not run without contrib.
mapfile -t done_before < <(find tests/crons -name 'test_*.py' ! -name 'test_schedules*')
mapfile -t whole < <(find tests/contrib tests/contracts -name 'test_*.py' ! -path 'tests/contrib/*/test_workers.py' ! -name test_shared_tasks.py)
whole+=(tests/acceptance/test_strangers.py tests/acceptance/test_stopping.py)

export DJANGO_SETTINGS_MODULE=tests.settings CRONS_TEST_DATABASE=sqlite
unset DATABASE_URL
"$python" -W error::django.utils.deprecation.RemovedInNextVersionWarning manage.py check
"$python" manage.py makemigrations --check --dry-run
"$python" -m pytest -n "${JOBS:-$((2 * $(getconf _NPROCESSORS_ONLN)))}" --dist worksteal -p no:cacheprovider --durations=10 --durations-min=1 \
    ${measured[@]+"${measured[@]}"} -m 'not slow' --rest "${whole[@]/#/--also=}" "${without_beat[@]}" "${done_before[@]/#/--ignore=}"
scripts/test_contrib.sh "${without_beat[@]}"
echo "── Django $("$python" -c 'import django; print(django.__version__)'), $("$python" -V)"
echo "Left out, because there is no django-celery-beat for it: ${#beat[@]} (${beat[*]})"
