"""3D Slicer: every volume of a mount in the scene, under the name of its series.

    Slicer --python-script examples/04_slicer.py /mnt/dicom

Slicer reads volume.nhdr, which keeps every digit of the affine, tilt too, and points into volume.npy.
"""

import csv
import sys
from pathlib import Path

import slicer

mount = Path(sys.argv[1])
for row in csv.DictReader(open(mount / "index.csv", newline="")):
    if row["status"] != "bad" and row["shape"].count("x") == 2:
        directory = mount / row["path"]
        node = slicer.util.loadVolume(str(directory / "volume.nhdr"), {"name": directory.name})
        print(node.GetName(), node.GetImageData().GetDimensions())
