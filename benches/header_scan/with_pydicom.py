"""Headers read by pydicom, one process of those that `header_scan peers` starts.

    python with_pydicom.py DIRECTORY [FILES]

One process on one core reads each file up to Pixel Data (stop_before_pixels), opening it itself, as
a script over an archive does. The elements that an index would keep are looked at, since pydicom
decodes values only then. Prints files, seconds and seconds of processor time of the best of three
rounds.
"""

import os
import sys
import time

import pydicom

KEYWORDS = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "Modality",
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "InstanceNumber",
)


def main() -> None:
    root = sys.argv[1]
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 3000
    paths = sorted(os.path.join(d, name) for d, _, names in os.walk(root) for name in names)[:most]
    rounds = []
    for _ in range(3):
        started, cpu = time.perf_counter(), time.process_time()
        for path in paths:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            for keyword in KEYWORDS:
                getattr(dataset, keyword, None)
        rounds.append((time.perf_counter() - started, time.process_time() - cpu))
    wall, cpu = min(rounds)
    print(len(paths), wall, cpu)


main()
