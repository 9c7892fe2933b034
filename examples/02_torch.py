"""PyTorch: random patches from all volumes, by a DataLoader whose workers share one decode.

    python examples/02_torch.py /mnt/dicom
"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch

SIZE = 16


class Patches(torch.utils.data.Dataset):
    """One patch of SIZE slices, rows and columns of each volume with axes z, y, x."""

    def __init__(self, mount):
        rows = csv.DictReader(open(mount / "index.csv", newline=""))
        self.paths = [mount / row["path"] / "volume.f32.npy" for row in rows if self.is_fit(row)]

    @staticmethod
    def is_fit(row):
        shape = [int(length) for length in row["shape"].split("x")]
        return row["status"] != "bad" and len(shape) == 3 and min(shape) >= SIZE

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, n):
        volume = np.load(self.paths[n], mmap_mode="r")  # opened here, in the worker
        corner = [np.random.randint(length - SIZE + 1) for length in volume.shape]
        patch = volume[tuple(slice(at, at + SIZE) for at in corner)]  # decodes the slices it touches
        return torch.from_numpy(np.ascontiguousarray(patch))


if __name__ == "__main__":
    patches = Patches(Path(sys.argv[1]))
    loader = torch.utils.data.DataLoader(patches, batch_size=2, num_workers=2)
    for batch in loader:
        print(tuple(batch.shape), batch.dtype, f"mean {batch.mean():.1f}")
    print(f"{len(patches)} volumes")
