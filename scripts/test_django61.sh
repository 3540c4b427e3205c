#!/usr/bin/env bash
# Run checks and tests on Django 6.1, on SQLite only, in a virtual environment of its own ($VENV).
#
# The core's tests run without crons/contrib: one run shows both (docs/adr/0043).
# What needs django-celery-beat is left out by its name and counted: its releases take no Django above 6.0 yet.
set -euo pipefail
cd "$(dirname "$0")/.."

LOCK=requirements-django61.lock scripts/setup.sh
python=$VENV/bin/python
needs_beat='django_celery_beat|contrib[.]celery[.]beat'

mapfile -t beat < <(grep -rlE "$needs_beat" --include='test_*.py' tests/contrib tests/contracts)
ignored=()
for file in "${beat[@]}"; do
    ignored+=("--ignore=$file")
done

export DJANGO_SETTINGS_MODULE=tests.settings CRONS_TEST_DATABASE=sqlite
unset DATABASE_URL
"$python" -W error::django.utils.deprecation.RemovedInNextVersionWarning manage.py check
"$python" manage.py makemigrations --check --dry-run
scripts/test_contrib.sh "${ignored[@]}"
# Real workers have run on two other Djangos by then, and take their minutes: one test with a worker of each kind.
ignored+=('--ignore-glob=tests/contrib/*/test_workers.py' --ignore=tests/contrib/celery/test_shared_tasks.py)
ignored+=(-k 'comes_twice or not (contracts and (celery or tasks))')
"$python" -m pytest -n "${JOBS:-$((2 * $(getconf _NPROCESSORS_ONLN)))}" --dist worksteal -p no:cacheprovider -m 'not slow' "${ignored[@]}" \
    tests/contrib tests/contracts tests/acceptance/test_strangers.py tests/acceptance/test_stopping.py
echo "── Django $("$python" -c 'import django; print(django.__version__)'), $("$python" -V)"
echo "Left out, because there is no django-celery-beat for it: ${#beat[@]} (${beat[*]})"
