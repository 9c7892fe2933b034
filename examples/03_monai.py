"""MONAI: volumes with their place in the patient, turned to one orientation and spacing.

    python examples/03_monai.py /mnt/dicom
"""

import csv
import sys
from pathlib import Path

from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation, Spacing

mount = Path(sys.argv[1])
load = Compose([
    LoadImage(reader="NibabelReader", image_only=True),
    EnsureChannelFirst(channel_dim="no_channel"),
    Orientation(axcodes="RAS"),
    Spacing(pixdim=(4.0, 4.0, 4.0)),
])
for row in csv.DictReader(open(mount / "index.csv", newline="")):
    if row["status"] == "ok" and row["shape"].count("x") == 2:
        image = load(mount / row["path"] / "volume.nii")
        print(row["modality"], row["shape"], "->", tuple(image.shape), image.pixdim.tolist())
