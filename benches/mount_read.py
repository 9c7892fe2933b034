#!/usr/bin/env python3
"""Cold and warm reads of one series through a mount, beside the same array as a plain .npy file.

    python benches/mount_read.py --program target/release/dicomfs --archive DIR --truth truth.npy [--rounds 5]

DIR holds one series; truth.npy holds its stored values in slice order, [z, y, x]. Needs NumPy. Every round mounts
anew for each cold case (cold: nothing decoded yet; the source files are in the page cache) and times the plain file in
the same round, so that ratios are fair on a busy machine. Medians; what is read is compared with truth.npy first.
"""
import argparse, json, os, random, statistics, subprocess, tempfile, time
import numpy as np

arguments = argparse.ArgumentParser()
arguments.add_argument("--program", required=True)
arguments.add_argument("--archive", required=True)
arguments.add_argument("--truth", required=True)
arguments.add_argument("--rounds", type=int, default=5)
given = arguments.parse_args()
truth = np.load(given.truth, mmap_mode="r")
rng = random.Random(7)
place = tempfile.mkdtemp(prefix="mount-read")
mountpoint = os.path.join(place, "mnt")
os.mkdir(mountpoint)


class Mount:
    """The archive, mounted."""

    def __enter__(self):
        index = os.path.join(place, "index.sqlite")
        subprocess.run([given.program, "mount", given.archive, mountpoint, "--index", index], check=True)
        (series,) = os.listdir(os.path.join(mountpoint, "series"))
        return os.path.join(mountpoint, "series", series, "volume.npy")

    def __exit__(self, *_):
        subprocess.run(["umount", mountpoint], check=True)


def warm_sources():
    """Reads all source files, so that a cold case measures decoding and not this machine's disk."""
    for folder, _, names in os.walk(given.archive):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                while file.read(1 << 20):
                    pass


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_slice(path, z):
    return np.array(np.load(path, mmap_mode="r")[z])


def one_patch(path, corner):
    z, y, x = corner
    return np.array(np.load(path, mmap_mode="r")[z:z + 64, y:y + 64, x:x + 64])


def stats():
    with open(os.path.join(mountpoint, ".dicomfs", "stats.json")) as file:
        return json.load(file)


with Mount() as path:
    shown = np.load(path)
    offsets = np.unique(shown[::37].astype(np.int64) - truth[::37])
    assert shown.shape == truth.shape and len(offsets) == 1, (shown.shape, offsets)
    for z in range(len(truth)):
        assert np.array_equal(shown[z], truth[z] + offsets[0].astype(shown.dtype)), z
    del shown

times = {}
for _ in range(given.rounds):
    z = rng.randrange(len(truth))
    corner = [rng.randrange(n - 64) for n in truth.shape]
    cases = {
        "np.load": np.load,
        "slice": lambda p: one_slice(p, z),
        "patch 64^3": lambda p: one_patch(p, corner),
    }
    for name, work in cases.items():
        plain = timed(lambda: work(given.truth))
        plain = min(plain, timed(lambda: work(given.truth)))
        warm_sources()
        with Mount() as path:
            cold = timed(lambda: work(path))
            decoded = stats()["frames_decoded"]
            if name == "np.load":
                # The first handle is closed by now; the next opens are passthrough.
                time.sleep(0.05)
                warm = []
                for _ in range(5):
                    warm.append((timed(lambda: work(path)), timed(lambda: work(given.truth))))
                times.setdefault("np.load warm", []).extend((w, p, decoded) for w, p in warm)
            times.setdefault(name + " cold", []).append((cold, plain, decoded))

print(f"{given.archive}: {truth.shape} {truth.nbytes / 1e6:.1f} MB decoded, {given.rounds} rounds, {os.cpu_count()} cores")
print(f"{'case':18} {'dicomfs s':>10} {'plain .npy s':>13} {'ratio':>8} {'frames decoded':>15}")
for name, rows in times.items():
    ours, plain, decoded = (statistics.median(column) for column in zip(*rows))
    ratio = statistics.median(a / b for a, b, _ in rows)
    print(f"{name:18} {ours:10.5f} {plain:13.5f} {ratio:7.2f}x {decoded:15.0f}")
os.rmdir(mountpoint)
