#!/bin/sh
# Install the project at $1 in a systemd of its own, which sees nothing of this machine's; say what becomes of it.
# Runs as the first process of its own process and mount namespaces; ends 77 where no control group can be made.
set -eu
place=$1
name=crons-test-$2
home=$place/home
crons() { (cd "$place" && .venv/bin/python manage.py crons "$@"); }
pid() { systemctl --user show --value --property=MainPID "$unit"; }

for base in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ -e "$base/cgroup.procs" ] || continue
    mkdir "$base/$name" 2>/dev/null && echo $$ >"$base/$name/cgroup.procs" || exit 77
done
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user "$home"
sed "s|^root:\([^:]*:0:0:[^:]*\):[^:]*:|root:\1:$home:|" /etc/passwd >"$place/passwd"
mount --bind "$place/passwd" /etc/passwd
export HOME="$home" XDG_RUNTIME_DIR=/run/user
# An operator's drop-in for all of ours; there is no journal here.
mkdir -p "$home/.config/systemd/user/crons-.service.d"
printf '[Service]\nStandardOutput=append:%s\nStandardError=inherit\n' "$place/output.log" \
    >"$home/.config/systemd/user/crons-.service.d/log.conf"
/lib/systemd/systemd --user --unit=basic.target >"$place/systemd.log" 2>&1 &
until systemctl --user show --property=Version >/dev/null 2>&1; do sleep 0.1; done

crons apply --to systemd --serve >"$place/apply.log" 2>&1 || { cat "$place/apply.log" "$place/systemd.log"; exit 1; }
unit=$(cd "$home/.config/systemd/user" && echo crons-?*.service)
until [ -n "$(crons history log_crm_heartbeat --verdict succeeded --json)" ]; do sleep 0.5; done
echo "ran by $(systemctl --user is-active "$unit")"

first=$(pid)
kill -KILL "$first"
# Not only another pid: what is left of the first is shown as one while it is put away.
until [ "$(grep -c 'crons serve: pid' "$place/output.log")" = 2 ]; do sleep 0.1; done
until systemctl --user is-active --quiet "$unit"; do sleep 0.1; done
echo "brought back: $(systemctl --user is-active "$unit")"

crons plan --to systemd >/dev/null 2>&1 && echo "in step"
crons apply --to systemd --tick >/dev/null 2>&1
until [ "$(systemctl --user is-active "$unit" || true)" = inactive ]; do sleep 0.2; done
echo "stopped: $(grep -c Draining "$place/output.log")"
echo "timer: $(systemctl --user is-active "${unit%service}timer"), $(systemctl --user is-enabled "${unit%service}timer")"
crons undo --to systemd --all >/dev/null 2>&1
echo "left: $(cd "$home/.config/systemd/user" && find . -type f -o -type l)"
