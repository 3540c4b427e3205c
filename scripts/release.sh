#!/usr/bin/env bash
# Build the release into dist/ and check it as its users will meet it; stop at the first thing that is wrong.
#
#   VENV   what requirements-release.lock installs: default .venv-release
#
# Each Django that pyproject.toml names is installed beside the wheel in a blank project, which does what the
# README's first five minutes say: the oldest on the oldest Python here, the others on the newest, all at once.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(realpath "${VENV:-.venv-release}")
python=$venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SECONDS=0

step() { # step NAME COMMAND…: one line when it is well; its output and the end when it is not
    local name=$1
    shift
    if ! "$@" >"$work/output" 2>&1 </dev/null; then
        sed 's/^/        /' "$work/output"
        echo "FAILED  $name: $*" >&2
        return 1
    fi
    echo "ok      $name (at $SECONDS s)"
}

build() { # the wheel is built from the sdist: what the sdist lacks is seen
    rm -rf build dist ./*.egg-info # old lists of files would be built again
    "$python" -m build --no-isolation --outdir dist .
    rm -rf build ./*.egg-info
}

is_newer_than_311() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))'
}

is_in_the_changelog() { # who installs it can read what it does
    local version
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
    grep -qE "^## $version( |$)" CHANGELOG.md || { echo "CHANGELOG.md has no section for $version" && return 1; }
}

step "changelog" is_in_the_changelog
step "build" build
step "twine" "$python" -m twine check --strict dist/*
step "contents" "$venv/bin/check-wheel-contents" dist
wheel=$(ls dist/*.whl)

oldest=$(scripts/find_python.sh python3.11 python3.12 python3.13 python3)
newest=$(scripts/find_python.sh python3.14 python3.13 python3.12 python3)
ended_well() { # ended_well PID FILE: wait for what writes to the file, and show that
    local status=0
    wait "$1" || status=$?
    cat "$2"
    return "$status"
}

tries=()
mapfile -t djangos < <(sed -n 's/^ *"Framework :: Django :: \(.*\)",$/\1/p' pyproject.toml)
for django in "${djangos[@]}"; do
    interpreter=$newest
    [[ $django != "${djangos[0]}" ]] || interpreter=$oldest
    name="Django $django on $("$interpreter" -V)"
    if [[ $django != 5.* ]] && ! is_newer_than_311 "$interpreter"; then
        echo "left out $name: it needs Python 3.12 or newer"
        continue
    fi
    "$python" scripts/try_wheel.py "$wheel" "$django" "$interpreter" >"$work/$django" 2>&1 </dev/null &
    tries+=("$! $django $name")
done
for each in ${tries[@]+"${tries[@]}"}; do
    read -r pid django name <<<"$each"
    step "$name" ended_well "$pid" "$work/$django" || status=1
done
[[ -z ${status:-} ]] || exit 1
echo "── dist holds: $(cd dist && echo *)"
