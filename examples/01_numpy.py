"""NumPy: what there is, a whole volume, and a part of one.

    python examples/01_numpy.py /mnt/dicom
"""

import csv
import sys
from pathlib import Path

import numpy as np

mount = Path(sys.argv[1])
rows = list(csv.DictReader(open(mount / "index.csv", newline="")))
print(f"{len(rows)} volumes")

# "ok" and "warn" can be read whole and have geometry; "warn" has findings to be read in volume.json.
for row in (row for row in rows if row["status"] == "ok"):
    path = mount / row["path"] / "volume.npy"
    try:
        whole = np.load(path)  # decoded on all cores, once for all processes
    except (OSError, ValueError) as why:  # a frame that cannot be decoded is an error, never zeros
        print(row["path"], "cannot be read:", why)
        continue
    part = np.load(path, mmap_mode="r")[0]  # of one that is not decoded yet, only what is touched is
    assert np.array_equal(part, whole[0])
    print(row["modality"], whole.shape, whole.dtype, f"mean {whole.mean():.1f}")
