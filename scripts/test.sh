#!/usr/bin/env bash
# Run the tests that the pytest marker expression $1 selects, on SQLite, then on PostgreSQL.
#
#   VENV           default .venv       JOBS   tests at once, default 2
#   DATABASE_URL   a PostgreSQL to use for the second leg instead of one started for it
set -euo pipefail
cd "$(dirname "$0")/.."

selection=$1
venv=${VENV:-.venv}
packages=(cron faketime redis-server systemd)
failed=()
lines=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT
SECONDS=0

leg() { # leg NAME COMMAND…: run pytest, keep its closing line
    local name=$1 status=0
    shift
    echo "── $name: pytest -m '$selection'"
    # tee: the closing line is wanted again at the end. Ctrl-C must reach pytest, which then cleans up.
    "$@" "$venv/bin/python" -m pytest -n "${JOBS:-2}" --dist worksteal -p no:cacheprovider -m "$selection" 2>&1 | tee -i "$log" || status=${PIPESTATUS[0]}
    # 5: nothing was selected; of the slow tests there may be none.
    if [[ $status -ne 0 && ! ($status -eq 5 && $selection == slow) ]]; then
        failed+=("$name")
    fi
    lines+=("$(printf '%-11s %s' "$name" "$(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | tr -d '=')")")
}

scripts/install_debian_packages.sh "${packages[@]}" || failed+=("Debian packages")
leg SQLite env -u DATABASE_URL CRONS_TEST_DATABASE=sqlite
leg PostgreSQL env CRONS_TEST_DATABASE=postgres

echo "── tests ($selection), $((SECONDS / 60)) min $((SECONDS % 60)) s, $("$venv/bin/python" -V), Django $("$venv/bin/python" -c 'import django; print(django.__version__)')"
printf '%s\n' "${lines[@]}"
if [[ ${#failed[@]} -gt 0 ]]; then
    echo "FAILED: $(IFS=,; echo "${failed[*]}")" >&2
    exit 1
fi
echo "All passed."
