#!/usr/bin/env bash
# Delete the customers without an order in the last year; one line goes to customer_cleanup_log.txt.
#
#   clean_inactive_customers.sh [--dry-run] [--force] [--scheduled] [--wait]
#
# Works from any directory and in cron's almost empty environment. The exit code is that of the work.
# The interpreter: $CRM_PYTHON, else .venv/bin/python beside manage.py, else python3.
set -euo pipefail

PATH=${PATH:-/usr/bin:/bin}
export PATH

# A symlink to this script is followed to the script: the project is two directories above that.
script=$(readlink -f -- "$0")
project=$(dirname -- "$(dirname -- "$(dirname -- "$script")")")
if [ ! -f "$project/manage.py" ]; then
    echo "clean_inactive_customers.sh: no manage.py in $project. Keep the script in crm/cron_jobs of the project." >&2
    exit 2
fi

if [ -n "${CRM_PYTHON:-}" ]; then
    python=$CRM_PYTHON
elif [ -x "$project/.venv/bin/python" ]; then
    python=$project/.venv/bin/python
else
    python=python3
fi
if ! command -v "$python" >/dev/null 2>&1; then
    echo "clean_inactive_customers.sh: $python cannot be started. Set CRM_PYTHON to the project's interpreter." >&2
    exit 127
fi

exec "$python" "$project/manage.py" clean_inactive_customers "$@"
