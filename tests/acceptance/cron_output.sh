#!/usr/bin/env bash
# Have Debian's own cron run the crontab in FOLDER for a minute, where it can touch nothing of this machine.
#
#   unshare --mount --pid --fork --kill-child --mount-proc cron_output.sh FOLDER
#
# FOLDER/sendmail takes the mails. All ends when stdin does: this process is pid 1 here.
set -euo pipefail

folder=$1
mount --make-rprivate /
for place in /var/spool/cron /run /etc/cron.d; do
    mkdir -p "$folder/machine/$place"
    mount --bind "$folder/machine/$place" "$place"
done
touch "$folder/machine/crontab"
mount --bind "$folder/machine/crontab" /etc/crontab
mkdir -p "$folder/upper" "$folder/place"
mount -t tmpfs none "$folder/place"
mkdir "$folder/place/sbin"
cp -a /usr/sbin/cron "$folder/place/sbin/"
cp "$folder/sendmail" "$folder/place/sbin/sendmail"
chmod 755 "$folder/place/sbin/sendmail"
mount --bind "$folder/place/sbin" /usr/sbin
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
crontab "$folder/crontab"
/usr/sbin/cron -f &
echo ready
read -r _ || true
# shellcheck disable=SC2046  # a word per process
kill -TERM $(jobs -p)
wait || true
# What a line started may be writing still: as pid 1, this one can signal everybody else as long as there is somebody.
while kill -0 -- -1 2>/dev/null; do sleep 0.1; done
