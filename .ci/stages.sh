# Stages of a run, to be sourced: one failed stage stops no other, and one may run beside the others.
# shellcheck shell=bash
set -euo pipefail
failed=()
began=
log=$(mktemp)
trap end_what_began EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
SECONDS=0

title() {
    printf '\n═══ %s (at %d min %d s)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
}

begin() { # begin NAME COMMAND…: a stage beside those that follow; finish shows what it printed
    beside=$1
    shift
    printf '%s begins beside the following (at %d min %d s)\n' "$beside" $((SECONDS / 60)) $((SECONDS % 60))
    # A process group of its own, to be ended whole.
    set -m
    (
        status=0
        "$@" </dev/null || status=$?
        printf '%s: ended %d at %d min %d s\n' "$beside" "$status" $((SECONDS / 60)) $((SECONDS % 60))
        exit "$status"
    ) >"$log" 2>&1 &
    began=$!
    set +m
}

finish() { # finish: wait for what began, and show it
    title "$beside"
    wait "$began" || failed+=("$beside")
    began=
    cat "$log"
}

end_what_began() {
    # As Ctrl-C does: pytest then ends what its tests have started.
    [[ -z $began ]] || { kill -INT -- "-$began" && wait "$began"; } 2>/dev/null || true
    rm -f -- "$log"
}

stage() { # stage NAME COMMAND…: go on after a failure, so that one run shows all of them
    local name=$1
    shift
    title "$name"
    "$@" </dev/null || failed+=("$name")
}

end() { # end: say what failed, and leave
    title "end"
    if [[ ${#failed[@]} -gt 0 ]]; then
        printf 'FAILED: %s\n' "${failed[@]}"
        exit 1
    fi
    echo "Everything passed."
}
