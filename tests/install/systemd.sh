#!/usr/bin/env bash
# The package under a systemd of its own: dicomfs@.service with all its hardening, and mounts from
# fstab, as the service manager makes them. Exit status 77: no systemd can be booted here.
#
#   systemd.sh ROOT.tar PACKAGE.deb MATERIAL
#
# The service is started with the README's own words first.
# MATERIAL is as for clean_root.sh. To be run in mount and process namespaces of its own.
set -euo pipefail
tarball=$1 package=$2 material=$3
start=$(date +%s%N)
step() { echo "[$((($(date +%s%N) - start) / 1000000)) ms] $*"; }
fail() { echo "FAILED: $*" >&2; in_root systemctl status --no-pager 'dicomfs@*' >&2 || true; exit 1; }

root=$(mktemp -d)
mount -t tmpfs -o size=2g,mode=755 root "$root"
init=
trap '[ -z "$init" ] || kill -9 "$init"; umount -Rl "$root"; rm -f "$root.log"; rmdir "$root"' EXIT
tar -C "$root" -xf "$tarball"
chmod 755 "$root"
cp -r "$material/archive" "$root/archive"
# Of root alone, as archives are.
chmod 700 "$root/archive"
mkdir -p "$root/mnt/dicom" "$root/mnt/two"
cat > "$root/start" <<'END'
mount --make-rshared /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 dev /dev
for node in null:3 zero:5 full:7 random:8 urandom:9 console:3; do
    mknod -m 666 "/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 /dev/fuse c 10 229
ln -s /proc/self/fd /dev/fd
mkdir /dev/shm
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
END
unshare --mount --propagation private --pid --fork --kill-child --cgroup --uts --ipc --net \
    chroot "$root" bash -e /start > "$root.log" 2>&1 &
outer=$!
in_root() { nsenter -t "$init" -m -p -u -i -n -C --root="/proc/$init/root" --wdns=/ "$@"; }
# until SECONDS COMMAND...: whether it comes true.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}
is_up() {
    init=$(pgrep -P "$outer") || return 1
    [[ $(in_root systemctl is-system-running 2>/dev/null || true) =~ ^(running|degraded)$ ]]
}
if ! until_true 30 is_up; then
    tail -3 "$root.log" >&2
    echo "no systemd can be booted here" >&2
    exit 77
fi
step "booted $(in_root systemctl --version | head -1)"

cp "$package" "/proc/$init/root/root/dicomfs.deb"
in_root dpkg --install /root/dicomfs.deb >/dev/null
unit=dicomfs@mnt-dicom.service
settings() { printf 'ARCHIVE=/archive\nOPTIONS=%s\n' "$1" > "/proc/$init/root/etc/dicomfs/mnt-dicom.conf"; }
# The tests do not wait as long as an operator.
mkdir -p "/proc/$init/root/run/systemd/system/$unit.d"
printf '[Service]\nRestartSec=100ms\n' > "/proc/$init/root/run/systemd/system/$unit.d/soon.conf"
in_root systemctl daemon-reload
words=$(awk '/tests\/install.rs does, under systemd/ { found = 1 } found && /^```$/ { exit }
    found && !/^<!--|^```/' "$(dirname "$0")/../../README.md")
in_root sh -euc "$words" 2>&1
show() { in_root systemctl show --value -p "$1" "$unit"; }
is_mounted() { in_root grep -q " $1 .* - fuse.dicomfs /archive " /proc/self/mountinfo; }
is_gone() { ! is_mounted "$1" && ! in_root sh -c 'grep -qsx dicomfs /proc/[0-9]*/comm'; }
compare() {
    local expected uid
    for expected in "$material"/expected/*; do
        uid=$(basename "$expected")
        until_true 30 in_root test -e "$1/series/$uid" || fail "series $uid is not there"
        in_root tail -c +4097 "$1/series/$uid/volume.npy" | cmp - "$expected" || fail "$uid at $1"
    done
}

is_mounted /mnt/dicom || fail "the README's words do not mount"
compare /mnt/dicom
in_root systemctl disable --now "$unit" 2>&1
until_true 30 is_gone /mnt/dicom || fail "disable leaves something"
step "as the README says"
settings allow_other,cache_dir=/var/cache/dicomfs/mnt-dicom/volumes
in_root systemctl start "$unit"
is_mounted /mnt/dicom || fail "the host does not see the mount"
compare /mnt/dicom
pid=$(show MainPID)
in_root cat "/proc/$pid/status" | grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):'
in_root grep -q '^Seccomp:.*2' "/proc/$pid/status" || fail "no filter"
[ "$(in_root readlink "/proc/$pid/ns/mnt")" = "$(in_root readlink /proc/1/ns/mnt)" ] ||
    fail "a mount namespace of its own"
[ "$(in_root readlink "/proc/$pid/ns/net")" != "$(in_root readlink /proc/1/ns/net)" ] ||
    fail "the host's network"
in_root stat -c '%U %a %n' /var/cache/dicomfs/mnt-dicom /var/cache/dicomfs/mnt-dicom/index.sqlite
in_root systemd-analyze security --no-pager "$unit" | tail -1
step "the hardened service serves, and the host sees it"

in_root systemctl kill --signal=KILL --kill-who=main "$unit"
restarted() { [ "$(show NRestarts)" = 1 ] && [ "$(show ActiveState)" = active ]; }
until_true 30 restarted || fail "not restarted"
[ "$(in_root grep -c fuse.dicomfs /proc/self/mountinfo)" = 1 ] || fail "a dead mount is left"
compare /mnt/dicom
step "killed, restarted, serves again"

in_root umount /mnt/dicom
has_ended() { [ "$(show ActiveState)" = inactive ] && is_gone /mnt/dicom; }
until_true 30 has_ended || fail "umount does not end the service"
in_root systemctl start "$unit"
compare /mnt/dicom
in_root systemctl stop "$unit"
until_true 30 has_ended || fail "stop leaves something"
[ "$(show Result)" = success ] || fail "$(show Result)"
step "ended by umount, and by stop"

settings cheese
in_root systemctl start "$unit" 2>/dev/null && fail "wrong options start"
has_failed() { [ "$(show ActiveState)" = failed ]; }
until_true 10 has_failed || fail "wrong options are tried again: $(show ActiveState)"
[ "$(show ExecMainStatus)" = 1 ] || fail "status $(show ExecMainStatus)"
step "wrong options are not tried again"

# A hyphen is escaped in the name of an instance: its file is named after the path.
odd=dicomfs@$(in_root systemd-escape --path /mnt/my-dicom).service
in_root mkdir -p /mnt/my-dicom /etc/dicomfs/mnt
printf 'ARCHIVE=/archive\nOPTIONS=\n' > "/proc/$init/root/etc/dicomfs/mnt/my-dicom.conf"
in_root systemctl start "$odd"
is_mounted /mnt/my-dicom || fail "$odd does not mount"
in_root ls /var/cache/dicomfs
in_root systemctl stop "$odd"
until_true 30 is_gone /mnt/my-dicom || fail "$odd leaves something"
step "mounted by $odd"

echo '/archive /mnt/two dicomfs ro,allow_other,nofail,x-systemd.mount-timeout=60 0 0' \
    > "/proc/$init/root/etc/fstab"
in_root systemctl daemon-reload
in_root systemctl start mnt-two.mount
is_mounted /mnt/two || fail "fstab"
compare /mnt/two
pkill -KILL -f '^dicomfs worker /archive /mnt/two$' || fail "no worker"
told() { in_root journalctl --unit mnt-two.mount --priority err | grep 'the worker died (signal 9)'; }
until_true 10 told || fail "the journal does not say what happened to the mount"
compare /mnt/two
in_root systemctl stop mnt-two.mount
until_true 30 is_gone /mnt/two || fail "the mount unit leaves something"
step "mounted from fstab by systemd"
for kind in mount automount; do
    cp "$(dirname "$0")/../../systemd/examples/mnt-dicom.$kind" "/proc/$init/root/run/systemd/system/"
done
sed -i 's|/net/archive|/archive|' "/proc/$init/root/run/systemd/system/mnt-dicom.mount"
in_root systemctl daemon-reload
if in_root systemctl start mnt-dicom.automount 2>/dev/null; then
    compare /mnt/dicom
    in_root systemctl stop mnt-dicom.automount mnt-dicom.mount
    step "mounted at the first access"
else
    step "SKIPPED the automount: no autofs here"
fi
