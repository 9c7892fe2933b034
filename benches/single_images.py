#!/usr/bin/env python3
"""What a volume of one image costs, as in archives of radiographs: the first np.load of each, and the next ones.

    python benches/single_images.py [--program target/release/dicomfs] [--count 400] [--side 512] [--rounds 5]

Writes `--count` uncompressed series of one `--side` x `--side` x 16 bit image, and the same arrays as plain .npy files. Every round
mounts anew, loads all volumes in an order of its own, then once more (most by passthrough from then on), and a third time; the
plain file of each is loaded just before, so that both meet the same machine. Printed: the median time of a load and the median of
the rounds' ratios to the plain file. All that is loaded is compared. Needs NumPy.
"""
import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from table import archive, measure
from table.mount import Mount

TIMES = ["first time", "second time", "third time"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", default=Path(__file__).parents[1] / "target/release/dicomfs")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def write(folder, count, side):
    """The archive, and a plain file of each volume; by Series Instance UID."""
    noise = np.random.default_rng(5).integers(0, 4096, (side, side), np.int16)
    plain = {}
    for n in range(count):
        uid = f"2.25.7200.{n}"
        image = np.roll(noise, 7 * n)[np.newaxis]
        archive.write_series(folder / "archive" / uid, uid, image)
        plain[uid] = folder / f"{uid}.npy"
        np.save(plain[uid], (image - 1024).astype("<i2"))
    return plain


def load_all(mount, plain):
    """Median seconds of a load of a plain file and of a volume."""
    order = list(plain)
    random.shuffle(order)
    of_plain, of_volume = [], []
    for uid in order:
        expected, seconds = measure.timed(np.load, plain[uid])
        of_plain.append(seconds)
        found, seconds = measure.timed(np.load, mount.file(series=uid))
        of_volume.append(seconds)
        measure.expect(found.dtype == expected.dtype and np.array_equal(found, expected), f"series {uid}")
    return statistics.median(of_plain), statistics.median(of_volume)


def main():
    given = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        plain = write(scratch, given.count, given.side)
        rounds = {name: [] for name in TIMES}
        for _ in range(given.rounds):
            with Mount(given.program, scratch / "archive", scratch, volumes=given.count) as mount:
                for name in TIMES:
                    rounds[name].append(load_all(mount, plain))
    print(f"{given.count} volumes of one {given.side} x {given.side} x 16 bit image, {given.rounds} rounds")
    for name, medians in rounds.items():
        of_plain, of_volume = (1e6 * statistics.median(times) for times in zip(*medians))
        ratio = statistics.median(volume / plain for plain, volume in medians)
        print(f"  {name:12} plain {of_plain:6.0f} us   volume.npy {of_volume:6.0f} us   {ratio:.2f}x")


if __name__ == "__main__":
    sys.exit(main())
