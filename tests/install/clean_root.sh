#!/usr/bin/env bash
# The package in a system that never saw it: installed, mounted by `mount -a` from an fstab, read,
# changed, refused, mounted by a user, unmounted, purged, and nothing left of it.
#
#   clean_root.sh ROOT.tar PACKAGE.deb MATERIAL
#
# MATERIAL/archive is mounted; each MATERIAL/expected/UID has the bytes of the array of that series.
# To be run in mount and process namespaces of its own (tests/install.rs does): all that is mounted
# here goes with them.
set -euo pipefail
tarball=$1 package=$2 material=$3
start=$(date +%s%N)
step() { echo "[$((($(date +%s%N) - start) / 1000000)) ms] $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

root=$(mktemp -d)
trap 'umount --recursive --lazy "$root"; rmdir "$root"' EXIT
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
# dpkg's own books and logs aside.
files() {
    in_root find / -xdev \( -path /proc -o -path /dev -o -path /tmp -o -path /var/lib/dpkg \
        -o -path /var/log \) -prune -o -print | sort
}

in_root useradd --create-home --uid 1000 reader
cp -r "$material/archive" "$root/archive"
cp -r "$material/expected" "$root/tmp/expected"
mkdir -p "$root/mnt/dicom" "$root/mnt/two" "$root/home/reader/dicom"
chown 1000:1000 "$root/home/reader/dicom"
files > "$root/tmp/before"

cp "$package" "$root/tmp/dicomfs.deb"
in_root dpkg --install /tmp/dicomfs.deb
step "installed"
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

cat > "$root/etc/fstab" <<END
/archive /mnt/dicom dicomfs ro,nofail 0 0
/archive /home/reader/dicom dicomfs ro,noauto,user 0 0
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

in_root mount --all
[ "$(mounts /mnt/dicom)" = 1 ] || fail "mount -a did not mount"
step "mounted from fstab"
compare /mnt/dicom
step "all volumes are what was written"
in_root mount --all
[ "$(mounts /mnt/dicom)" = 1 ] || fail "mount -a mounted twice"
in_root mount -o remount /mnt/dicom
in_root mount -o remount,noexec /mnt/dicom
in_root grep -q ' /mnt/dicom ro,nosuid,nodev,noexec,' /proc/self/mountinfo || fail "no noexec"
refuses 32 "not cache_size" mount -o remount,cache_size=1G /mnt/dicom
refuses 32 "stays read-only" mount -o remount,rw /mnt/dicom
refuses 1 'did you mean `cache_size`?' mount -t dicomfs /archive /mnt/two -o cache_siez=1G
refuses 32 "there is no archive" mount -t dicomfs /none /mnt/two
refuses 32 "is already a mount" mount -t dicomfs /archive /mnt/dicom
in_root sh -c 'echo x > /mnt/dicom/x' 2>/dev/null && fail "written"
step "remount and refusals"

in_root mount -t fuse.dicomfs /archive /mnt/two -o cache_size=64M,cache_dir=/var/cache/dicomfs/two
compare /mnt/two
in_root umount /mnt/two
in_root mount -s -t dicomfs /archive /mnt/two -o cheese
in_root umount /mnt/two
step "by its other name, and sloppily"

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
