#!/usr/bin/env bash
# Resolve requirements.lock anew with uv ($1: its path), and note in its first line what it was made from.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$1
if ! command -v "$uv" >/dev/null; then
    echo "make lock needs uv, and '$uv' is not a command here. Install it, or: make lock UV=/path/to/uv" >&2
    exit 1
fi
draft=$(mktemp)
trap 'rm -f "$draft"' EXIT
cp requirements.lock "$draft" # what is pinned stays pinned unless it must move
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    --no-emit-index-url --no-emit-find-links requirements/dev.txt --output-file "$draft" "${@:2}"
{
    echo "# Made by: make lock. Made from: $(python3 scripts/check_tree.py --fingerprint)"
    grep -v '^# Made by' "$draft"
} >requirements.lock
