#!/usr/bin/env python3
"""What the kernel's settings of a mount are worth: readahead and requests in the background, varied from outside.

    python benches/kernel_settings.py --program target/release/dicomfs --archive DIR [--rounds 5]

DIR holds one series. Needs root (sysfs, fusectl) and NumPy. Every round mounts anew for each setting and reads the cold volume
whole (read), scans its first half (mmap) and takes one slice (mmap); medians in ms. The first line of each table is what
dicomfs sets by itself.
"""
import argparse, os, statistics, subprocess, tempfile, time
import numpy as np

FUSECTL = "/sys/fs/fuse/connections"
READAHEAD_KIB = [1024, 128, 256, 512, 2048, 4096]
BACKGROUND = [64, 4, 12, 16, 32, 256]


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--archive", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def write(path, value):
    with open(path, "w") as file:
        file.write(str(value))


def timed(work):
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def cases(path):
    """The cases, each on a mount of its own."""
    return {
        "read": lambda: np.load(path),
        "half by mmap": lambda: np.load(path, mmap_mode="r")[: len(np.load(path, mmap_mode="r")) // 2].max(),
        "slice by mmap": lambda: np.array(np.load(path, mmap_mode="r")[100]),
    }


class Mounted:
    """The archive, mounted, with one of the kernel's settings changed."""

    def __init__(self, given, place, readahead_kib, background):
        self.given, self.place = given, place
        self.readahead_kib, self.background = readahead_kib, background

    def __enter__(self):
        at = os.path.join(self.place, "mnt")
        index = os.path.join(self.place, "index.sqlite")
        subprocess.run([self.given.program, "mount", self.given.archive, at, "--index", index], check=True)
        device = os.stat(at).st_dev
        numbers = f"{os.major(device)}:{os.minor(device)}"
        write(f"/sys/class/bdi/{numbers}/read_ahead_kb", self.readahead_kib)
        write(f"{FUSECTL}/{os.minor(device)}/max_background", self.background)
        write(f"{FUSECTL}/{os.minor(device)}/congestion_threshold", max(1, self.background * 3 // 4))
        (series,) = os.listdir(os.path.join(at, "series"))
        path = os.path.join(at, "series", series, "volume.npy")
        os.stat(path)  # the headers of the series are read from the index now
        return path

    def __exit__(self, *_):
        subprocess.run(["umount", os.path.join(self.place, "mnt")], check=True)


def warm_sources(archive):
    for folder, _, names in os.walk(archive):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                while file.read(1 << 20):
                    pass


def main():
    given = arguments()
    place = tempfile.mkdtemp(prefix="kernel-settings")
    os.mkdir(os.path.join(place, "mnt"))
    mounted_here = not os.listdir(FUSECTL)
    if mounted_here:
        subprocess.run(["mount", "-t", "fusectl", "none", FUSECTL], check=True)
    settings = [("read_ahead_kb", kib, kib, BACKGROUND[0]) for kib in READAHEAD_KIB]
    settings += [("max_background", count, READAHEAD_KIB[0], count) for count in BACKGROUND]
    times = {}
    try:
        for _ in range(given.rounds):
            warm_sources(given.archive)
            for name, value, readahead_kib, background in settings:
                for case in cases(""):
                    with Mounted(given, place, readahead_kib, background) as path:
                        took = timed(cases(path)[case])
                    times.setdefault((name, value), {}).setdefault(case, []).append(took)
    finally:
        if mounted_here:
            subprocess.run(["umount", FUSECTL], check=False)
    print(f"{given.archive}, medians of {given.rounds} rounds, ms, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for (name, value), row in times.items():
        print(f"{name:15} {value:5}  " + "  ".join(f"{case} {statistics.median(took):7.1f}" for case, took in row.items()))


main()
