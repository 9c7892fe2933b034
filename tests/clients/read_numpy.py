"""NumPy: volume.npy whole and mapped into memory, and the frames one by one."""

import numpy as np

from judge import Reader, Seen, judge


def load(volume, path):
    return Seen(np.load(path))


def memory_map(volume, path):
    if volume.is_damaged:  # a failing page of a mapping is SIGBUS
        return load(volume, path)
    mapped = np.load(path, mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    return Seen(np.array(mapped))


def stack(volume, path):
    frames = np.stack([np.load(frame) for frame in sorted(path.iterdir())])
    return Seen(frames.reshape(volume.shape))


READERS = [
    Reader("numpy volume.npy", "volume.npy", load),
    Reader("numpy volume.npy mmap", "volume.npy", memory_map),
    Reader("numpy frames/*.npy", "frames", stack),
]


def run(mount, volumes):
    return [judge(reader, volumes) for reader in READERS]
