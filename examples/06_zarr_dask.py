"""Zarr and Dask: a lazy array over a volume, of which only what is computed is decoded.

    python examples/06_zarr_dask.py /mnt/dicom
"""

import csv
import sys
from pathlib import Path

import dask.array as da
import zarr

mount = Path(sys.argv[1])
for row in csv.DictReader(open(mount / "index.csv", newline="")):
    if row["status"] == "ok" and row["shape"].count("x") == 2:
        slab = zarr.open_array(str(mount / row["path"] / "volume.zarr" / "0"), mode="r")
        lazy = da.from_zarr(slab)
        projection = lazy.max(axis=0)  # nothing is decoded yet
        print(row["modality"], lazy.shape, lazy.chunksize, "maximum", projection.compute().max())
