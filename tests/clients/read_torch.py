"""PyTorch: a Dataset over index.csv, read by the worker processes of a DataLoader."""

import math
import warnings
import zlib

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from common import index
from judge import Tally


class Volumes(Dataset):
    """The volumes of some rows of index.csv as tensors."""

    def __init__(self, mount, rows):
        self.mount, self.rows = mount, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, n):
        path = self.rows[n]["path"]
        return path, torch.from_numpy(np.load(self.mount / path / "volume.npy"))


def checksum(item):
    """What a worker sends back: the sum that people compare, and a checksum that sees every bit."""
    path, tensor = item
    return path, tensor.double().sum().item(), zlib.crc32(tensor.numpy())


def run(mount, volumes):
    arrays = {f"series/{volume.name}": volume for volume in volumes if volume.has_array}
    readable = {path: volume for path, volume in arrays.items() if not volume.is_damaged}
    rows = [row for row in index(mount) if row["path"] in arrays]
    good = Volumes(mount, [row for row in rows if row["path"] in readable])
    bad = Volumes(mount, [row for row in rows if row["path"] not in readable])
    torch.set_num_threads(1)  # as in a worker, so that sums of floats add up in the same order
    want = {path: checksum((path, torch.from_numpy(v.truth))) for path, v in readable.items()}
    warnings.filterwarnings("ignore", message=".*suggested max number of worker")
    tallies = []
    for start, workers in (("fork", 4), ("spawn", 2)):
        tally = Tally(f"torch DataLoader, {workers} workers by {start}")
        loader = DataLoader(
            good, batch_size=None, num_workers=workers, collate_fn=checksum, multiprocessing_context=start
        )
        compare(loader, dict(want), tally)
        refuse(bad, tally)
        tallies.append(tally)
    return tallies


def compare(loader, want, tally):
    for path, total, crc in loader:
        if path not in want:
            tally.fail(path, "was loaded twice")
            continue
        # A sum of floats may be NaN, which equals nothing: the checksum stands for it.
        _, total_wanted, crc_wanted = want.pop(path)
        if crc == crc_wanted and (total == total_wanted or math.isnan(total)):
            tally.counts["equal"] += 1
        else:
            tally.fail(path, f"the sum is {total}, not {total_wanted}")
    for path in want:
        tally.fail(path, "was not loaded")


def refuse(bad, tally):
    """A volume that cannot be decoded is an exception, which a DataLoader hands on."""
    for n, row in enumerate(bad.rows):
        try:
            bad[n]
        except (OSError, ValueError):  # NumPy tells of a read that failed as of a file that is short
            tally.counts["damaged (refused)"] += 1
        else:
            tally.fail(row["path"], "shows numbers where a frame cannot be decoded")
