"""Cases of Siemens MOSAIC: the slices of one time point as tiles of one image."""

import numpy as np

from cases_order import rotated
from dataset import COLUMNS, MR, ROWS, Stack, blank, place, ramps, save, set_pixels
from siemens import mosaic_header
from truth import case

MOSAIC = (
    "vendor: n tiles in a square grid of ceil(sqrt(n)) a side, row by row, from one slice to the "
    "next along SliceNormalVector; the position is that of a plane as large as the grid, centred"
)


def mosaic(folder, name, stack, times):
    """Writes a time series of mosaics; the stack's step says which way the tiles run."""
    side = int(np.ceil(np.sqrt(stack.count)))
    frames = ramps(0, stack.count * times).reshape(times, stack.count, ROWS, COLUMNS)
    along_row, along_column = stack.plane()
    found = []
    for t in range(times):
        ds = blank(name, "MR", MR, instance=t)
        ds.Manufacturer, ds.ManufacturerModelName = "SIEMENS", "Prisma"
        ds.SoftwareVersions = "syngo MR E11"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        grid = np.zeros((side * ROWS, side * COLUMNS), int)
        for k in range(stack.count):
            row, column = divmod(k, side)
            grid[row * ROWS : (row + 1) * ROWS, column * COLUMNS : (column + 1) * COLUMNS] = frames[t, k]
        set_pixels(ds, grid, "<u2")
        place(ds, stack)
        corner = stack.position(0)
        corner = corner - along_row * (side - 1) * COLUMNS / 2 - along_column * (side - 1) * ROWS / 2
        ds.ImagePositionPatient = [round(float(v), 9) for v in corner]
        ds.SpacingBetweenSlices = abs(stack.step_mm)
        ds.SliceThickness = abs(stack.step_mm) - 0.3
        ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType = "EP", "SK", "2D"
        ds.RepetitionTime, ds.EchoTime, ds.FlipAngle = 2000.0, 30.0, 77.0
        ds.EchoNumbers, ds.MagneticFieldStrength = 1, 3.0
        ds.AcquisitionNumber, ds.AcquisitionTime = t + 1, f"1015{10 + 2 * t}.500000"
        ds.ContentTime = f"1015{20 + 2 * t}.100000"
        times_ms = [(k * 7 % stack.count) * 100.0 for k in range(stack.count)]
        header = mosaic_header(stack.count, np.sign(stack.step_mm) * stack.normal, times_ms)
        block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x08, "CS", "IMAGE NUM 4")
        block.add_new(0x09, "LO", "20240506")
        block.add_new(0x10, "OB", header + b"\0" * (len(header) % 2))
        found.append(ds)
    save(folder, found)
    codes = frozenset({"time_axis"}) if times > 1 else frozenset()
    axes = "tzyx" if times > 1 else "zyx"
    frames = frames if times > 1 else frames[0]
    return stack.expected(frames, "<u2", axes=axes, codes=codes)


@case("Siemens MOSAIC of 7 oblique slices, 3 time points", MOSAIC)
def mosaic_series(folder):
    stack = Stack(count=7, orientation=rotated((0, 20.0), (2, 5.0)), step_mm=3.3)
    return mosaic(folder, "mosaic_series", stack, 3)


@case("Siemens MOSAIC whose SliceNormalVector is against row x column", MOSAIC)
def mosaic_against_normal(folder):
    stack = Stack(count=7, step_mm=-3.3)
    return mosaic(folder, "mosaic_against_normal", stack, 3)


@case("one Siemens MOSAIC of 9 sagittal slices", MOSAIC)
def mosaic_single(folder):
    stack = Stack(count=9, orientation=(0, 1, 0, 0, 0, -1), step_mm=4.0)
    return mosaic(folder, "mosaic_single", stack, 1)
