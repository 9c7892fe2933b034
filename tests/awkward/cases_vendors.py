"""Cases of vendors' habits: private directions of diffusion, grids of slices, phases in free text."""

import numpy as np

from cases_enhanced import GROUPS, enhanced, frame_group, item, measures, one
from cases_time import SPLIT, points
from dataset import COLUMNS, MR, ROWS, Stack, blank, place, ramps, save, set_pixels, slices
from truth import case

DIRECTIONS = [(0, 0, 0), (1.0, 0, 0), (0, 0.6, 0.8), (0, -0.6, 0.8), (0.707107, 0.707107, 0)]
UNTIMED = ("AcquisitionTime", "ContentTime", "AcquisitionNumber")


def repeated(name, count, times, change, modality="MR"):
    """A stack that repeats without any time; InstanceNumber runs against the order of `change`."""
    found = []
    for t in range(times):
        for ds in slices(name, modality, Stack(count=count), first=count * t):
            for keyword in UNTIMED:
                delattr(ds, keyword)
            ds.InstanceNumber = times * count - len(found)
            change(ds, t)
            found.append(ds)
    return found


@case("diffusion of GE: one b-value, the directions in private attributes",
      "vendor: (0019,xxBB) to (0019,xxBD) are the parts of a direction, (0043,xx39) begins with the b-value")
def diffusion_directions_of_ge(folder):
    def change(ds, t):
        ds.Manufacturer = "GE MEDICAL SYSTEMS"
        block = ds.private_block(0x0019, "GEMS_ACQU_01", create=True)
        for index, part in enumerate(DIRECTIONS[t]):
            block.add_new(0xBB + index, "DS", str(part))
        block = ds.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x39, "IS", [1_000_001_000 if t else 0, 8, 0, 0])

    times = len(DIRECTIONS)
    save(folder, repeated("diffusion_directions_of_ge", 4, times, change))
    order = sorted(range(times), key=lambda t: [round(1000 * part) for part in DIRECTIONS[t]] if t else [-9999])
    truth = points(Stack(count=4), 4, times)
    truth.array = truth.array[order]
    return truth


@case("diffusion of Philips: the mean of all directions is one more image of b = 800 s/mm2",
      "vendor: (2005,xxB0) to (2005,xxB2) are the parts of a direction, zeros for the mean")
def diffusion_directions_of_philips(folder):
    directions = DIRECTIONS[:2] + [(0, 0, 0)]

    def change(ds, t):
        ds.Manufacturer = "Philips Medical Systems"
        block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x03, "FL", 800.0 if t else 0.0)
        block = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        for index, part in enumerate(directions[t]):
            block.add_new(0xB0 + index, "FL", float(part))

    save(folder, repeated("diffusion_directions_of_philips", 4, 3, change))
    truth = points(Stack(count=4), 4, 3)
    truth.array = truth.array[[0, 2, 1]]
    return truth


@case("four phases of breathing, told apart by ImageComments",
      "nothing of time is there: each phase is a volume, none is mixed")
def phases_in_comments(folder):
    def change(ds, t):
        ds.ImageComments = f"Resp. {25 * t} %"

    save(folder, repeated("phases_in_comments", 5, 4, change, modality="CT"))
    names = [frozenset({""})] + [frozenset({f"_a{n}"}) for n in (2, 3, 4)]
    order = [3, 2, 1, 0]
    more = {"status": "warn", "codes": SPLIT | {"duplicate_positions"}}
    return [
        Stack(count=5).expected(ramps(5 * t, 5), "<i2", suffixes=name, **more)
        for t, name in zip(order, names)
    ]


@case("two reconstructions of other parts of the same planes", "PS3.3 C.7.6.2.1.1: their corners differ")
def reconstructions_side_by_side(folder):
    left, right = Stack(count=6), Stack(count=6, origin=(60.5, 12.0, -31.0))
    found = slices("reconstructions_side_by_side", "CT", left)
    found += slices("reconstructions_side_by_side", "CT", right, first=6)
    for ds in found:
        for keyword in UNTIMED:
            delattr(ds, keyword)
    save(folder, found[::-1])
    return [
        left.expected(ramps(0, 6), "<i2", codes=SPLIT),
        right.expected(ramps(6, 6), "<i2", codes=SPLIT, suffixes=frozenset({"_a2"})),
    ]


@case("VFRAME of United Imaging: 5 slices in a grid of 3 columns and 2 rows, 2 time points",
      "vendor: ceil(sqrt(n)) columns and the rows that are needed; each slice has its own position")
def vframe(folder):
    stack, found = Stack(count=5, step_mm=-3.0), []
    frames = ramps(0, 10).reshape(2, 5, ROWS, COLUMNS)
    for t in range(2):
        ds = blank("vframe", "MR", MR, instance=t)
        ds.Manufacturer, ds.ImageType = "UIH", ["ORIGINAL", "PRIMARY", "EPI", "VFRAME"]
        grid = np.zeros((2 * ROWS, 3 * COLUMNS), int)
        for k in range(5):
            row, column = divmod(k, 3)
            grid[row * ROWS : (row + 1) * ROWS, column * COLUMNS : (column + 1) * COLUMNS] = frames[t, k]
        set_pixels(ds, grid, "<u2")
        place(ds, stack)
        ds.AcquisitionNumber, ds.AcquisitionTime = t + 1, f"1015{10 + 2 * t}.500000"
        block = ds.private_block(0x0065, "Image Private Header", create=True)
        block.add_new(0x50, "DS", "5")
        of_slice = lambda k: item(
            AcquisitionTime=f"1015{10 + 2 * t}.{100000 * k:06}",
            ImagePositionPatient=[round(float(v), 9) for v in stack.position(k)],
        )
        block.add_new(0x51, "SQ", [of_slice(k) for k in range(5)])
        found.append(ds)
    save(folder, found)
    return stack.expected(frames, "<u2", axes="tzyx", codes=frozenset({"time_axis"}))


@case("enhanced MR of Siemens XA whose Image Type still says MOSAIC", GROUPS)
def enhanced_called_mosaic(folder):
    stack = Stack(count=6)
    shared = item(PixelMeasuresSequence=measures(stack))
    groups = [frame_group(stack, k) for k in range(6)]
    ds = enhanced("enhanced_called_mosaic", "MR", ramps(0, 6), groups, shared)
    ds.Manufacturer, ds.ImageType = "SIEMENS", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    save(folder, [ds])
    return stack.expected(ramps(0, 6), "<i2")


@case("enhanced flow: three directions of velocity at two times",
      "PS3.3 C.8.13.5.8: Velocity Encoding Direction, by frame")
def enhanced_flow(folder):
    stack, groups = Stack(count=4), []
    shared = item(PixelMeasuresSequence=measures(stack))
    for direction in ([0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]):
        for ms in (0.0, 40.0):
            for k in range(4):
                group = frame_group(stack, k)
                group.MRVelocityEncodingSequence = one(VelocityEncodingDirection=direction)
                group.CardiacSynchronizationSequence = one(NominalCardiacTriggerDelayTime=ms)
                groups.append(group)
    save(folder, [enhanced("enhanced_flow", "MR", ramps(0, 24), groups, shared)])
    frames = ramps(0, 24).reshape(6, 4, ROWS, COLUMNS)
    return stack.expected(frames, "<i2", axes="tzyx", codes=frozenset({"time_axis"}))
