#!/usr/bin/env bash
# Show in a copy of this tree that folder $1 of crons/contrib/ can be deleted, or all of them; further options go to pytest.
#
# "all": the fast tests of the core run where none of the folders is there; not those of crons.schedules, which imports
# neither Django nor another chapter (`make check`): they take a third of the time.
# A folder: where only that one and its tests are gone,
#   - every module of crons is imported, and manage.py check finds no error;
#   - pytest collects the rest: the tests of the other folders, contracts, acceptance, house rules, and of the core those
#     below; that the core's others can be imported is shown by "all";
#   - of these, the core's that can end otherwise than with all folders there run ("asking" below);
# then that folder alone is there, and its own tests run.
# That is enough: the core learns of a folder only by asking crons.extensions. tests/house holds the core to it, and the
# list below to who asks. What does not ask is the same code with one folder gone and with all, and "all" runs its tests.
# No folder imports another (`make check`): what passes beside all of them and beside none passes where one is gone.
# The tests of the CRM stay out: it is a project that uses four of the folders on purpose.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
shift

# Modules of the core that ask crons.extensions, and the tests of what they make of the answer.
asking=(
    apps.py:test_apps.py
    checks/declarations.py:test_checks.py
    conf/__init__.py:test_conf.py
    doctor/installed.py:test_doctor.py
    executors/runner.py:test_runner.py
    jobs/external_tasks.py:test_jobs.py
    sources/__init__.py:test_sources.py
    sources/crontab_files.py:test_sources.py
    targets/__init__.py:test_secrets_of_arguments.py
    tasks.py:test_apps.py
    urls.py:test_health_page.py
    watch/alerts/channels.py:test_alerts.py
)
python=$(realpath --no-symlinks "${VENV:-.venv}/bin/python")
place=$(mktemp -d)
aside=$place.aside
trap 'rm -rf -- "$place" "$aside"' EXIT
unset DATABASE_URL
export DJANGO_SETTINGS_MODULE=tests.settings CRONS_TEST_DATABASE=sqlite

pack() { # pack: the files that stdin names. 1 says that a folder changed meanwhile: other tests compile what they import
    tar --create --null --files-from=- --ignore-failed-read 2>/dev/null || [[ $? -eq 1 ]]
}

# What git knows of, and what is new: nothing that was built.
git ls-files -z --cached --others --exclude-standard | pack | tar --extract --directory="$place"
# And what Python and pytest have compiled of it, or each worker in each copy would do so anew. The times of the files,
# which say whether it is still true, are copied too.
find crons crm tests -name __pycache__ -print0 | pack | tar --extract --directory="$place"
cd "$place"
run=("$python" -m pytest -p no:cacheprovider "$@")

if [[ $folder == all ]]; then
    rm -rf -- crons/contrib/*/ tests/contrib
    if [[ -n ${COVERAGE_FILE:-} ]]; then # test_django61.sh: beside what the other legs have noted
        run+=(--cov --cov-append --cov-report= --cov-fail-under=0)
    fi
    "${run[@]}" -n "${JOBS:-$((2 * $(getconf _NPROCESSORS_ONLN)))}" --dist worksteal -m 'not slow' tests/crons \
        --ignore-glob='*/test_schedules*'
    exit
fi

mkdir -p "$aside"/{crons,tests}
mv "crons/contrib/$folder" "$aside/crons/"
mv "tests/contrib/$folder" "$aside/tests/"
"$python" - <<'PYTHON'
import importlib
import pkgutil

import django
from django.core.management import call_command

import crons

django.setup()
for module in pkgutil.walk_packages(crons.__path__, "crons."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        # For a contrib folder: a package that has no release for this Django.
        if not module.name.startswith("crons.contrib.") or str(error.name).startswith("crons"):
            raise
call_command("check")
PYTHON
# Tests that compare the folder's way in with others.
mapfile -t left_out < <(grep -rlE "crons[.]contrib[.]$folder\b" --include='test_*.py' tests/acceptance tests/contracts)
tests=$(printf '%s\n' "${asking[@]#*:}" | sort -u | paste -sd' ')
# Left out: what starts processes and costs minutes; "needs" marks brokers, systemd and cron.
long='acceptance or contracts or house or test_workers or test_once_per_slot or test_shared_tasks or test_commands'
long+=' or test_behind_walls or test_oncalendar or too_strange'
# Of test_alerts.py: months of alerts to a channel that the tests themselves make, whatever the folders give.
long+=' or thousand_failures or fails_for_days or for_three_days or has_a_cap or small_cap_holds'
# In one process: each of several would collect everything. Plain asserts: to rewrite those of all files takes longer than
# to run these tests.
run+=(-p no:xdist --assert=plain -m 'not slow and not needs')
"${run[@]}" -k "(${tests// / or }) and not contrib and not (${long})" \
    "${left_out[@]/#/--ignore=}" $(printf 'tests/crons/%s\n' $tests) tests/contrib tests/contracts tests/acceptance tests/house
rm -r -- crons/contrib/*/ tests/contrib/*/
mv "$aside/crons/$folder" crons/contrib/
mv "$aside/tests/$folder" tests/contrib/
"${run[@]}" -k "not (${long})" "tests/contrib/$folder"
echo "left out: ${left_out[*]:-nothing}"
