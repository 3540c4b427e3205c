#!/usr/bin/env bash
# Run the core's tests in a copy of this tree that has no folder of crons/contrib, on SQLite, with $VENV.
#
# A part of the core that needs one of them fails here. Options go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(realpath --no-symlinks "${VENV:-.venv}/bin/python")
jobs=${JOBS:-$((2 * $(getconf _NPROCESSORS_ONLN)))}
place=$(mktemp -d)
trap 'rm -rf -- "$place"' EXIT

# What git knows of, and what is new: nothing that was built.
git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- --ignore-failed-read 2>/dev/null |
    tar --extract --directory="$place"
left_out=("$place"/crons/contrib/*/)
rm -rf -- "${left_out[@]}" "$place/tests/contrib"

unset DATABASE_URL
export DJANGO_SETTINGS_MODULE=tests.settings CRONS_TEST_DATABASE=sqlite
cd "$place"
"$python" -m pytest -n "$jobs" --dist worksteal -p no:cacheprovider -m 'not slow' "$@" tests/crons
echo "── the core without ${#left_out[@]} folders: $(basename -a "${left_out[@]}" | paste -sd' ')"
