#!/usr/bin/env bash
# Have the Debian packages given as arguments installed, as far as this machine allows.
#
# Root on Debian: installs what is missing. Else, or when apt-get fails: names what is missing and ends 0,
# for the tests that need it are skipped by name; with CI=true it ends 1.
set -euo pipefail

is_installed() {
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing() {
    local package
    for package in "$@"; do
        is_installed "$package" || echo "$package"
    done
}

# Two calls at once: the second waits, then finds them installed. The file is only a thing to lock.
exec 9<"$0"
flock 9

mapfile -t wanted < <(missing "$@")
[[ ${#wanted[@]} -gt 0 ]] || exit 0

if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    echo "Installing Debian packages: ${wanted[*]}"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # Services must not start by themselves: a test that wants one starts its own.
    if ! {
        apt-get update --quiet --quiet &&
            RUNLEVEL=1 apt-get install --yes --quiet --quiet --no-install-recommends "${wanted[@]}"
    } </dev/null >"$log" 2>&1 9<&-; then
        tail -n 5 "$log" >&2
    fi
fi

mapfile -t still < <(missing "${wanted[@]}")
[[ ${#still[@]} -gt 0 ]] || exit 0
echo "Not installed, tests that need them are skipped: ${still[*]} (as root: apt-get install ${still[*]})" >&2
[[ ${CI:-} != true ]]
