#!/usr/bin/env bash
# Check everything that needs no test: one line a step, a step's output only when it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(realpath "${VENV:-.venv}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/failed"

step() { # step NAME COMMAND…
    local name=$1 output
    output=$(mktemp "$work/output.XXX")
    shift
    if "$@" >"$output" 2>&1 </dev/null; then
        echo "ok      $name"
    else
        # At once: another step may say something meanwhile.
        echo "FAILED  $name: $*"$'\n'"$(sed 's/^/        /' "$output")"
        echo "$name" >>"$work/failed"
    fi
}

# As an operator would deploy it, whatever this shell or var/crm.env says.
production=(
    env -u DATABASE_URL
    CRM_ENV_FILE=/dev/null CRM_DEBUG=0 CRM_HTTPS=1 CRM_ALLOWED_HOSTS=crm.example.com
    CRM_HSTS_SECONDS=31536000 CRM_HSTS_SUBDOMAINS=1 CRM_HSTS_PRELOAD=1 CRM_LOG_DIR="$work"
    CRM_EMAIL_HOST=mail.example.com CRM_ADMINS=ops@example.com
    CRM_SECRET_KEY="$("$venv/bin/python" -c 'import secrets; print(secrets.token_urlsafe(60))')"
    DATABASE_URL="sqlite:///$work/check.sqlite3" DJANGO_SETTINGS_MODULE=crm.settings
    "$venv/bin/python"
)

schema() { # a change of the API is seen in review
    "${production[@]}" manage.py export_schema >"$work/schema.graphql" &&
        diff -u schema.graphql "$work/schema.graphql" ||
        { echo "Write it: manage.py export_schema > schema.graphql" && return 1; }
}

# It takes longer than all the others, which run meanwhile.
# Its Django plugin reads tests.settings, and its way out skips what would delete their directory.
step "mypy" env CRONS_TEST_DIRECTORY="$work" "$venv/bin/mypy" &
step "lock and tree" "$venv/bin/python" scripts/check_tree.py
step "ruff check" "$venv/bin/ruff" check .
step "ruff format" "$venv/bin/ruff" format --check .
step "layers" "$venv/bin/lint-imports"
step "migrations" "${production[@]}" manage.py makemigrations --check --dry-run
step "schema" schema
step "deployment" "${production[@]}" manage.py check --deploy --fail-level WARNING
wait

if [[ -s $work/failed ]]; then
    echo "Failed: $(paste -sd, "$work/failed"). 'make fix' mends what ruff can." >&2
    exit 1
fi
