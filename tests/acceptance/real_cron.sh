#!/usr/bin/env bash
# Have Debian's own cron fire an installed CRM's crontab where it can touch nothing of this machine.
#
#   unshare --mount --pid --fork --kill-child --mount-proc real_cron.sh FOLDER SERVES WEB NAME=VALUE…
#
# FOLDER/crm is the installation, and stands at /srv/crm. SERVES schedulers run beside cron. WEB is the descriptor
# of the socket on which its web server listens. NAME=VALUE are the variables of every process: they hold the false
# clock. All ends when stdin does, at the latest with this process: it is pid 1 here.
set -euo pipefail

folder=$1 serves=$2 web=$3
shift 3
clock=("$@")
python=/srv/crm/.venv/bin/python

cover() { # have the place $1 be a folder of ours, empty
    mkdir -p "$folder/machine/$1"
    mount --bind "$folder/machine/$1" "$1"
}

faked() { # as cron would start it: from /, with next to nothing in the environment
    env -i PATH=/usr/bin:/bin TZ=UTC "${clock[@]}" "$@" </dev/null
}

mount --make-rprivate /
cover /var/spool/cron
cover /run
cover /etc/cron.d
cover /srv
touch "$folder/machine/crontab"
mount --bind "$folder/machine/crontab" /etc/crontab
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
mkdir /srv/crm
mount --bind "$folder/crm" /srv/crm
cd /

# The shell notes how each line that cron fired ended: cron itself tells nobody.
cat >"$folder/shell" <<'SHELL'
#!/bin/sh
/bin/sh "$@"
status=$?
echo "$status" >>/srv/crm/var/exits
exit "$status"
SHELL
chmod 755 "$folder/shell"
{
    printf '%s\n' "SHELL=$folder/shell" 'MAILTO=""' "${clock[@]}"
    cat /srv/crm/crm/cron_jobs/customer_cleanup_crontab.txt /srv/crm/crm/cron_jobs/order_reminders_crontab.txt
} | crontab -
faked "$python" /srv/crm/manage.py crontab add
crontab -l >"$folder/installed"

faked "$python" /srv/crm/manage.py crons sync
faked "$python" /srv/crm/manage.py service_token jobs
faked "$python" -m uvicorn --app-dir /srv/crm crm.asgi:application --fd "$web" --lifespan off >"$folder/web.log" 2>&1 &
for ((number = 1; number <= serves; number++)); do
    faked "$python" /srv/crm/manage.py crons serve >"$folder/serve-$number.log" 2>&1 &
done
env TZ=UTC "${clock[@]}" cron -f &
echo ready

read -r _ || true
# shellcheck disable=SC2046  # a word per process
kill -TERM $(jobs -p)
wait || true
