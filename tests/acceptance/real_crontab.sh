#!/usr/bin/env bash
# Have crons apply write Debian's own crontab, and Debian's own cron fire it, out of reach of this machine.
#
#   unshare --mount --pid --fork --kill-child --mount-proc real_crontab.sh FOLDER INSTALLATION
#
# FOLDER/foreign is the crontab that stands there before. A line on stdin starts cron, the next ends it and undoes.
set -euo pipefail

folder=$1 installation=$2

cover() { # have the place $1 be a folder of ours, empty
    mkdir -p "$folder/machine/$1"
    mount --bind "$folder/machine/$1" "$1"
}

manage() { # as an operator calls it
    (cd / && env -i PATH=/usr/bin:/bin "$installation/.venv/bin/python" "$installation/manage.py" "$@" </dev/null)
}

mount --make-rprivate /
cover /var/spool/cron
cover /run
cover /etc/cron.d
# What a job of cron's finds, told by cron itself.
echo "* * * * * root { pwd; env; } >'$folder/told-by-cron.part' && mv '$folder/told-by-cron.part' '$folder/told-by-cron'" \
    >"$folder/machine/crontab"
mount --bind "$folder/machine/crontab" /etc/crontab
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
file=/var/spool/cron/crontabs/$(id -un)

crontab - <"$folder/foreign"
manage crons plan >"$folder/planned" && exit 1
[[ $? == 3 ]]
manage crons apply --to crontab >"$folder/applied"
tail -n +4 "$file" >"$folder/installed" # behind the three lines that Debian's crontab puts at the top
manage crons plan >"$folder/in-step"
touch "$folder/ready"

read -r _ # until what is due has been set back
cron -f &
until [[ -s /run/crond.pid ]]; do sleep 0.1; done
manage crons doctor >"$folder/doctor" || true
read -r _ || true
# shellcheck disable=SC2046  # a word per process
kill -TERM $(jobs -p)
wait || true
manage crons undo --to crontab >"$folder/undone-told"
tail -n +4 "$file" >"$folder/undone"
