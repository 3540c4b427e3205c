#!/usr/bin/env bash
# Resolve the locks anew with uv ($1: its path), and note in their first lines what they were made from.
#
# requirements.lock is what everybody installs. requirements-django61.lock is the same for Django 6.1: without
# django-celery-beat, which caps Django below it, and without what only checks the text of the code.
# requirements-release.lock is what `make release` and `make docs` install, in a virtual environment of their own.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$1
if ! command -v "$uv" >/dev/null; then
    echo "make lock needs uv, and '$uv' is not a command here. Install it, or: make lock UV=/path/to/uv" >&2
    exit 1
fi
drafts=$(mktemp -d)
trap 'rm -rf "$drafts"' EXIT

resolve() { # resolve LOCK REQUIREMENTS OPTION…
    local lock=$1 requirements=$2
    local draft=$drafts/$lock
    # What is pinned stays pinned unless it must move, and alike in all.
    cp requirements.lock "$draft"
    [[ $lock != requirements-release.lock || ! -e $lock ]] || cp "$lock" "$draft"
    "$uv" pip compile --quiet --universal --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links "$requirements" --output-file "$draft" "${@:3}"
    {
        echo "# Made by: make lock. Made from: $(python3 scripts/check_tree.py --fingerprint "$lock")"
        grep -v '^# Made by' "$draft"
    } >"$lock"
}

resolve requirements.lock requirements/dev.txt --python-version 3.11 "${@:2}"
{
    grep -hivE '^(-r|#|django[>=]|django-celery-beat|mypy|ruff|import-linter|build>)' requirements.txt requirements/dev.txt
    echo 'Django>=6.1,<6.2'
} >"$drafts/django61.txt"
# Without annotations: they would name this draft.
resolve requirements-django61.lock "$drafts/django61.txt" --python-version 3.12 --no-annotate "${@:2}"
resolve requirements-release.lock requirements/release.txt --python-version 3.11 "${@:2}"
