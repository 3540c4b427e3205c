#!/usr/bin/env bash
# Run the tests that the pytest marker expression $1 selects, on SQLite, then on PostgreSQL.
#
#   VENV           default .venv       JOBS   tests at once, default two a core
#   ON             empty: every test on SQLite, and what touches the database on PostgreSQL too;
#                  sqlite or postgres: every test once, on this database unless it runs only on the other
#   REST           with ON=postgres, of which files all tests run there; empty: what does not touch the database runs on
#                  SQLite, of all files
#   COVERAGE       1: note in .coverage which lines and branches of crons ran, and fail where they are too few;
#                  `coverage report` shows them file by file. add: note them beside what is there, and judge nothing
#   DATABASE_URL   a PostgreSQL to use for its leg instead of one started for it
set -euo pipefail
cd "$(dirname "$0")/.."

selection=$1
venv=${VENV:-.venv}
jobs=${JOBS:-$((2 * $(getconf _NPROCESSORS_ONLN)))}
measured=()
if [[ ${COVERAGE:-} == [1a]* ]]; then
    # Not each leg by itself: only all together are measured against fail_under, at the end.
    measured=(--cov --cov-append --cov-report= --cov-fail-under=0)
    [[ $COVERAGE == add ]] || "$venv/bin/coverage" erase
fi
packages=(chromium cron faketime nodejs rabbitmq-server redis-server systemd)
failed=()
lines=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT
SECONDS=0

on_sqlite() { # on_sqlite OPTION…
    leg SQLite "$selection" env -u DATABASE_URL CRONS_TEST_DATABASE=sqlite "$venv/bin/python" -m pytest "$@"
}

on_postgres() { # on_postgres SELECTION FILE…
    local selection=$1
    shift
    leg PostgreSQL "$selection" env CRONS_TEST_DATABASE=postgres "$venv/bin/python" -m pytest "$@"
}

marked() { # marked MARK: the files that have it; to collect all others takes each worker longer than a test
    grep -rlE "mark\.$1\b" --include='test_*.py' tests | sort
}

leg() { # leg NAME SELECTION COMMAND…: run pytest, keep its closing line
    local name=$1 selection=$2 status=0
    shift 2
    echo "── $name: pytest -m '$selection'"
    # tee: the closing line is wanted again at the end. Ctrl-C must reach pytest, which then cleans up.
    "$@" -n "$jobs" --dist worksteal -p no:cacheprovider --durations=10 --durations-min=1 ${measured[@]+"${measured[@]}"} -m "$selection" 2>&1 | tee -i "$log" || status=${PIPESTATUS[0]}
    # 5: nothing was selected; of the slow tests, or of those that run on PostgreSQL only, there may be none.
    if [[ $status -ne 0 && ! ($status -eq 5 && $selection != 'not slow') ]]; then
        failed+=("$name")
    fi
    lines+=("$(printf '%-11s %s' "$name" "$(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | tr -d '=')")")
}

scripts/install_debian_packages.sh "${packages[@]}" || failed+=("Debian packages")
files=()
[[ $selection == 'not slow' ]] || mapfile -t files < <(marked "$selection")
mapfile -t only_there < <(marked postgres)
case ${ON:-} in
    "") on_sqlite "${files[@]}" && on_postgres "$selection" "${files[@]}" ;;
    sqlite) on_sqlite "${files[@]}" && on_postgres "($selection) and postgres" "${only_there[@]}" ;;
    postgres)
        if [[ -z ${REST:-} ]]; then
            on_sqlite --rest "${files[@]}" && on_postgres "$selection" "${files[@]}"
        else # not two starts for a few tests
            mapfile -t rest <<<"$REST"
            on_postgres "$selection" "${files[@]}" "${rest[@]/#/--also=}"
        fi
        ;;
    *) failed+=("ON=$ON is neither sqlite nor postgres") ;;
esac

echo "── tests ($selection), $((SECONDS / 60)) min $((SECONDS % 60)) s, $("$venv/bin/python" -V), Django $("$venv/bin/python" -c 'import django; print(django.__version__)')"
printf '%s\n' "${lines[@]}"
if [[ ${COVERAGE:-} == 1 ]]; then
    covered=$("$venv/bin/coverage" report) || failed+=("coverage: fewer lines and branches of crons ran than pyproject.toml asks for")
    echo "── coverage of crons"
    sed -n -e '/^Name/p' -e '/^TOTAL/p' <<<"$covered"
fi
if [[ ${#failed[@]} -gt 0 ]]; then
    echo "FAILED: $(IFS=,; echo "${failed[*]}")" >&2
    exit 1
fi
echo "All passed."
