#!/usr/bin/env bash
# Print the path of the first interpreter that can build this project's virtual environment.
#
#   scripts/find_python.sh [NAME…]      default: python3.13 python3.12 python3.11 python3
#
# A name is looked up on PATH, then among pyenv's versions: pyenv's shims are on PATH even where they
# only fail, so each candidate is run. Suitable: Python 3.11 or newer with venv, ensurepip, sqlite3, ssl.
# Ends 1 with one line on stderr when there is none.
set -euo pipefail

names=("$@")
[[ ${#names[@]} -gt 0 ]] || names=(python3.13 python3.12 python3.11 python3)

probe='import sys
if sys.version_info < (3, 11):
    sys.exit("it is Python %d.%d" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("it lacks venv: apt install python3-venv")
try:
    import sqlite3, ssl
except ImportError as error:
    sys.exit("it was built without %s" % error.name)
print(sys.executable)'

candidates() { # every place where the name $1 may be
    if [[ $1 == */* ]]; then
        echo "$1"
        return
    fi
    type -Pa "$1" || true
    local root=${PYENV_ROOT:-} pyenv
    if [[ -z $root ]] && pyenv=$(type -P pyenv); then
        root=${pyenv%/*/pyenv} # bin or libexec; not `pyenv root`: without its variable it guesses from HOME
    fi
    if [[ -d $root/versions ]]; then
        printf '%s\n' "$root"/versions/*/bin/"$1" | sort -rV
    fi
}

reason=
for name in "${names[@]}"; do
    while read -r path; do
        [[ -x $path ]] || continue
        if found=$("$path" -c "$probe" 2>&1 </dev/null); then
            echo "$found"
            exit 0
        fi
        found=${found##*$'\n'}
        # The most telling reason wins: a shim of pyenv that leads nowhere says nothing about Python.
        [[ $found == it\ * && -z $reason ]] && reason=" $path cannot be used: $found."
    done < <(candidates "$name")
done

echo "No suitable Python among ${names[*]}: 3.11 or newer with venv is needed.$reason Set PYTHON=/path/to/python3." >&2
exit 1
