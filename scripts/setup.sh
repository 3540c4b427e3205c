#!/usr/bin/env bash
# Make $VENV hold exactly what a lock says; does nothing when it already does.
#
#   VENV    default .venv        PYTHON  default: the newest suitable interpreter
#   LOCK    default requirements.lock
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
lock=${LOCK:-requirements.lock}
stamp=$venv/.installed
wanted=$(cat "$lock" scripts/setup.sh | sha256sum | cut -d' ' -f1)

fail() {
    echo "$1" >&2
    exit 1
}

is_right_interpreter() { # the environment runs, and is what PYTHON asks for
    [[ -x $venv/bin/python ]] || return 1
    local -r base='import sys; print(sys.base_prefix, sys.version_info[:2])'
    local mine theirs
    mine=$("$venv/bin/python" -c "$base" 2>/dev/null) || return 1
    [[ -n ${PYTHON:-} ]] || return 0
    theirs=$("$PYTHON" -c "$base" 2>/dev/null) || return 0
    [[ $mine == "$theirs" ]]
}

# Two calls at once: the second waits, then finds the work done. The lock file is only a thing to lock.
exec 9<"$lock"
flock 9

if is_right_interpreter && [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    exit 0
fi

parent=$(dirname "$venv")
mkdir -p "$parent" 2>/dev/null && [[ -w $parent ]] || fail "Cannot write to $parent: the virtual environment goes there. Set VENV=path."

if ! is_right_interpreter || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(scripts/find_python.sh ${PYTHON:+"$PYTHON"}) || exit 1
    echo "Making $venv with $("$python" -V)"
    rm -rf -- "$venv"
    "$python" -m venv "$venv" || fail "The virtual environment could not be made; the reason is above."
fi

install() { # what the file $1 pins, hashes checked
    # Twice quiet: errors only. Python 3.11's pip has four lines to say of its own options.
    "$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-input \
        --use-pep517 --no-build-isolation \
        --require-hashes --requirement "$1" 9<&- ||
        fail "pip could not install $lock; its reason is above. What was installed stays: run this again."
}

rm -f "$stamp"
echo "Installing $lock (about a minute where nothing is cached)"
# First what builds django-crontab: without isolation, so that the builder is the pinned one too.
builder=$(mktemp)
trap 'rm -f "$builder"' EXIT
awk '/^[^ #]/ {wanted = /^setuptools==/} wanted' "$lock" >"$builder"
install "$builder"
install "$lock"
echo "$wanted" >"$stamp"
