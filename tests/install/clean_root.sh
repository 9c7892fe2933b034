#!/usr/bin/env bash
# The package in a system that never saw it: installed, mounted by `mount -a` from an fstab, read,
# changed, refused, mounted by a user, unmounted, purged, and nothing left of it.
#
#   clean_root.sh ROOT.tar PACKAGE.deb MATERIAL
#
# Installed and mounted with the README's own words. MATERIAL/archive is mounted; each MATERIAL/expected/UID has the bytes of the array of that series.
# To be run in mount and process namespaces of its own (tests/install.rs does): all that is mounted
# here goes with them.
set -euo pipefail
tarball=$1 package=$2 material=$3
readme=$(dirname "$0")/../../README.md
start=$(date +%s%N)
step() { echo "[$((($(date +%s%N) - start) / 1000000)) ms] $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

root=$(mktemp -d)
listener=
trap '[ -z "$listener" ] || kill "$listener"; umount --recursive --lazy "$root"; rmdir "$root"' EXIT
mount -t tmpfs -o size=2g,mode=755 root "$root"
tar -C "$root" -xf "$tarball"
chmod 755 "$root"
step "a clean root of $(du -sm "$root" | cut -f1) MB"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=755 dev "$root/dev"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/urandom" c 1 9
# As udev makes it.
mknod -m 666 "$root/dev/fuse" c 10 229
ln -s /proc/self/fd "$root/dev/fd"
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
# The books and logs of dpkg and apt aside.
files() {
    in_root find / -xdev \( -path /proc -o -path /dev -o -path /tmp -o -path /var/lib/dpkg \
        -o -path /var/lib/apt -o -path /var/cache/apt \
        -o -path /var/log \) -prune -o -print | sort
}

in_root useradd --create-home --uid 1000 reader
cp -r "$material/archive" "$root/archive"
cp -r "$material/expected" "$root/tmp/expected"
mkdir -p "$root/mnt/dicom" "$root/mnt/two" "$root/home/reader/dicom"
chown 1000:1000 "$root/home/reader/dicom"
files > "$root/tmp/before"

# In the README's words, where it was built.
mkdir "$root/root/target"
cp "$package" "$root/root/target/dicomfs.deb"
words=$(grep '^apt install ./target/dicomfs.deb' "$readme")
in_root sh -c "cd /root && $words" 2>&1 | grep -v '^WARNING: apt does not'
rm -r "$root/root/target"
step "installed: $words"
for file in /usr/bin/dicomfs /sbin/mount.dicomfs /sbin/mount.fuse.dicomfs \
    /usr/share/bash-completion/completions/dicomfs /usr/share/zsh/vendor-completions/_dicomfs \
    /usr/share/fish/vendor_completions.d/dicomfs.fish /usr/share/doc/dicomfs/copyright \
    /usr/lib/systemd/system/dicomfs@.service /usr/lib/sysusers.d/dicomfs.conf \
    /usr/lib/tmpfiles.d/dicomfs.conf /usr/share/doc/dicomfs/examples/mnt-dicom.automount; do
    in_root test -e "$file" || fail "$file is not there"
done
for page in man1/dicomfs.1 man1/dicomfs-mount.1 man8/mount.dicomfs.8 man8/mount.fuse.dicomfs.8; do
    in_root gzip --test "/usr/share/man/$page.gz"
done
in_root bash -n /usr/share/bash-completion/completions/dicomfs
in_root dicomfs --version

grep '^/archive  */mnt/dicom  *dicomfs ' "$readme" > "$root/etc/fstab"
cat >> "$root/etc/fstab" <<END
/archive /home/reader/dicom dicomfs ro,noauto,user 0 0
/ward\\0407,\\134a /mnt/of\\040ward\\0407 dicomfs ro,noauto,x-mount.mkdir,x-systemd.automount,_netdev,index=/tmp/of\\040ward 0 0
END
mounts() { in_root grep -c " $1 .* - fuse.dicomfs /archive ro" /proc/self/mountinfo || true; }
# Runs in the root; what follows the status are words that it must say.
refuses() {
    local status=$1 words=$2 said result=0
    shift 2
    said=$(in_root "$@" 2>&1) || result=$?
    [ "$result" = "$status" ] || fail "$*: status $result: $said"
    [[ $said == *"$words"* ]] || fail "$*: $said"
}
compare() {
    local expected uid
    for expected in "$root"/tmp/expected/*; do
        uid=$(basename "$expected")
        in_root "${@:2}" tail -c +4097 "$1/series/$uid/volume.npy" > "$root/tmp/read"
        cmp "$root/tmp/read" "$expected" || fail "series $uid at $1"
    done
}

python3 - "$root/dev/log" > "$root/tmp/log" <<'END' &
import socket, sys
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind(sys.argv[1])
while True:
    print(log.recv(65536).decode(), flush=True)
END
listener=$!
until [ -S "$root/dev/log" ]; do sleep 0.05; done
in_root mount --all
[ "$(mounts /mnt/dicom)" = 1 ] || fail "mount -a did not mount"
step "mounted from fstab"
compare /mnt/dicom
step "all volumes are what was written"
in_root mount --all
[ "$(mounts /mnt/dicom)" = 1 ] || fail "mount -a mounted twice"
pkill -KILL -f '^dicomfs worker /archive /mnt/dicom$' || fail "no worker"
compare /mnt/dicom
for _ in $(seq 200); do
    grep -q '^<27>dicomfs\[[0-9]*\]: the worker died (signal 9); another takes over' "$root/tmp/log" && break
    sleep 0.05
done
grep 'the worker died' "$root/tmp/log" || fail "nothing in the system's log"
step "a worker killed, replaced, and the system's log told of it"
in_root mount -o remount /mnt/dicom
in_root mount -o remount,noexec /mnt/dicom
in_root grep -q ' /mnt/dicom ro,nosuid,nodev,noexec,' /proc/self/mountinfo || fail "no noexec"
refuses 32 "not cache_size" mount -o remount,cache_size=1G /mnt/dicom
refuses 32 "stays read-only" mount -o remount,rw /mnt/dicom
refuses 1 'did you mean `cache_size`?' mount -t dicomfs /archive /mnt/two -o cache_siez=1G
refuses 32 "there is no archive" mount -t dicomfs /none /mnt/two
refuses 32 "is already a mount" mount -t dicomfs /archive /mnt/dicom
in_root sh -c 'echo x > /mnt/dicom/x' 2>/dev/null && fail "written"
in_root sh -c 'cd /mnt/dicom; echo $$ > /tmp/busy; exec sleep 60' &
until [ -s "$root/tmp/busy" ]; do sleep 0.05; done
refuses 32 "target is busy" umount /mnt/dicom
kill "$(cat "$root/tmp/busy")"
wait %% || true
refuses 32 "there is no mountpoint /mnt/none; make it with" /sbin/mount.dicomfs /archive /mnt/none
refuses 1 "usage: mount.dicomfs ARCHIVE MOUNTPOINT" /sbin/mount.dicomfs /archive
in_root sh -c 'cd / && mount -t dicomfs archive /mnt/two -fv' > /dev/null
in_root sh -c 'cd / && mount -nvw -t dicomfs archive /mnt/two' > /dev/null 2>&1
[ "$(mounts /mnt/two)" = 1 ] || fail "a relative archive"
compare /mnt/two
in_root umount /mnt/two
step "remount and refusals"

in_root mount -t fuse.dicomfs /archive /mnt/two -o cache_size=64M,cache_dir=/var/cache/dicomfs/two
compare /mnt/two
in_root umount /mnt/two
in_root mount -s -t dicomfs /archive /mnt/two -o cheese
in_root umount /mnt/two
step "by its other name, and sloppily"

cp -r "$root/archive" "$root/ward 7,\a"
in_root mount "/mnt/of ward 7"
in_root grep -qF ' /mnt/of\040ward\0407 ro,' /proc/self/mountinfo || fail "a name with blanks"
compare "/mnt/of ward 7"
in_root mount --all --test-opts _netdev
in_root mount -o remount "/mnt/of ward 7"
[ -e "$root/tmp/of ward" ] || fail "its index is elsewhere"
in_root umount "/mnt/of ward 7"
in_root rm -r "/ward 7,\a" "/mnt/of ward 7"
step "names with blanks, commas and backslashes"

as_reader=(setpriv --reuid 1000 --regid 1000 --clear-groups env HOME=/home/reader)
in_root "${as_reader[@]}" mount /home/reader/dicom
[ "$(mounts /home/reader/dicom)" = 1 ] || fail "the user's mount"
compare /home/reader/dicom "${as_reader[@]}"
in_root "${as_reader[@]}" umount /home/reader/dicom
# mount(8) takes HOME away.
ls "$root"/home/reader/.cache/dicomfs/*.sqlite >/dev/null || fail "the user's index is elsewhere"
rm -rf "$root/home/reader/.cache"
step "a user mounted, read and unmounted"

in_root umount /mnt/dicom
for _ in $(seq 200); do
    pgrep -x dicomfs >/dev/null || break
    sleep 0.05
done
pgrep -x dicomfs && fail "processes are left"
in_root grep dicomfs /proc/self/mountinfo && fail "mounts are left"
step "unmounted, and its processes have ended"

in_root test -d /var/cache/dicomfs
in_root dpkg --purge dicomfs
rm "$root/etc/fstab"
files > "$root/tmp/after"
diff <(grep -v '^/etc/fstab$' "$root/tmp/before") "$root/tmp/after" || fail "the purge left something"
step "purged, nothing is left"
