#!/usr/bin/env bash
# Show that the folders of crons/contrib/ can be deleted, all of them, each alone, and all but one:
# scripts/test_without.sh says how.
#
# On SQLite, with $VENV. Options go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

logs=$(mktemp -d)
trap 'rm -rf -- "$logs"' EXIT
export logs
failed=()
folders=()
for file in crons/contrib/*/extension.py; do
    folders+=("$(basename "$(dirname "$file")")")
done

scripts/test_without.sh all "$@" || failed+=("all of them")
echo "── the core without ${#folders[@]} folders: ${folders[*]}"
SECONDS=0
# shellcheck disable=SC2016  # the inner shell's
printf '%s\n' "${folders[@]}" | xargs -P "$(getconf _NPROCESSORS_ONLN)" -I {} bash -c '
    folder=$1; shift
    scripts/test_without.sh "$folder" "$@" >"$logs/$folder" 2>&1 && touch "$logs/$folder.passed"; true' - {} "$@"
for folder in "${folders[@]}"; do
    if [[ -e $logs/$folder.passed ]]; then
        echo "── without $folder, then $folder alone: $(grep -E '^[0-9]+ passed|^left out' "$logs/$folder" | paste -sd';')"
    else
        failed+=("$folder")
        cat "$logs/$folder"
        echo "── without $folder: FAILED"
    fi
done
echo "── each folder alone: $((SECONDS / 60)) min $((SECONDS % 60)) s"
if [[ ${#failed[@]} -gt 0 ]]; then
    echo "FAILED without: $(IFS=,; echo "${failed[*]}")" >&2
    exit 1
fi
