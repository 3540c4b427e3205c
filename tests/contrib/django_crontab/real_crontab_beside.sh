#!/usr/bin/env bash
# Have crons and the real django-crontab write the same crontab in turn, out of reach of this machine.
#
#   unshare --mount real_crontab_beside.sh FOLDER INSTALLATION
set -euo pipefail

folder=$1 installation=$2

manage() { # as an operator calls it
    (cd / && env -i PATH=/usr/bin:/bin "$installation/.venv/bin/python" "$installation/manage.py" "$@" </dev/null)
}

mount --make-rprivate /
mkdir -p "$folder/spool"
mount --bind "$folder/spool" /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs

crontab - <"$folder/foreign"
manage crons apply >"$folder/applied"
crontab -l >"$folder/ours"
manage crontab add >"$folder/added"
crontab -l >"$folder/both"
manage crons plan >"$folder/in-step"
manage crons apply --per-job >"$folder/applied-again"
manage crontab remove >"$folder/removed"
manage crons undo >"$folder/undone-told"
crontab -l >"$folder/undone"
