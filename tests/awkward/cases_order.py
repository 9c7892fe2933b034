"""Cases of slice order, gaps, duplicates and orientation."""

import numpy as np

from dataset import (
    CORONAL,
    ROWS,
    COLUMNS,
    SAGITTAL,
    SECONDARY_CAPTURE,
    Stack,
    blank,
    bytes8,
    ramp,
    ramps,
    save,
    set_pixels,
    slices,
    uid,
    unplaced,
)
from truth import Truth, case

PLANE = "PS3.3 C.7.6.2.1.1: position and orientation place a slice, Instance Number does not"
SHUFFLE = [5, 0, 7, 2, 6, 1, 4, 3]
SPLIT = frozenset({"split_from"})


def rotated(*turns):
    """Row and column cosines after turns of (axis, degrees), both of unit length."""
    matrix = np.eye(3)
    for axis, degrees in turns:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        matrix = turn @ matrix
    return tuple(matrix[:, 0]) + tuple(matrix[:, 1])


@case("InstanceNumber runs against the normal", PLANE)
def instance_number_reversed(folder):
    stack = Stack()
    found = slices("instance_number_reversed", "CT", stack)
    for k, ds in enumerate(found):
        ds.InstanceNumber = stack.count - k
    save(folder, found)
    return stack.expected(ramps(0, 8), "<i2")


@case("InstanceNumber is in no order", PLANE)
def instance_number_shuffled(folder):
    stack = Stack()
    found = slices("instance_number_shuffled", "MR", stack)
    for ds, number in zip(found, SHUFFLE):
        ds.InstanceNumber = number + 1
    save(folder, found)
    return stack.expected(ramps(0, 8), "<i2")


@case("no InstanceNumber", "PS3.3 C.7.6.1: Type 2, may be empty; " + PLANE)
def instance_number_absent(folder):
    stack = Stack()
    found = slices("instance_number_absent", "CT", stack)
    for ds in found:
        del ds.InstanceNumber
    save(folder, [found[k] for k in SHUFFLE])
    return stack.expected(ramps(0, 8), "<i2")


@case("file names in no order, without an extension", "PS3.10 8.5: a name says nothing of content")
def file_names_shuffled(folder):
    stack = Stack()
    save(folder, slices("file_names_shuffled", "CT", stack), [f"IM{n}" for n in SHUFFLE])
    return stack.expected(ramps(0, 8), "<i2")


@case("one slice of nine is missing", PLANE + "; nothing may be filled")
def missing_slice(folder):
    stack = Stack(count=9)
    keep = [k for k in range(9) if k != 5]
    found = slices("missing_slice", "CT", stack)
    save(folder, [found[k] for k in keep])
    return stack.scattered(
        ramps(0, 9)[keep],
        [stack.position(k) for k in keep],
        "<i2",
        status="warn",
        codes=frozenset({"missing_slices"}),
    )


@case("the spacing changes from 2 to 3 mm in the middle", PLANE)
def spacing_changes(folder):
    stack = Stack(count=9, step_mm=2.0)
    distances = [0, 2, 4, 6, 8, 11, 14, 17, 20]
    positions = [np.asarray(stack.origin) + d * stack.normal for d in distances]
    found = slices("spacing_changes", "CT", stack)
    for ds, position in zip(found, positions):
        ds.ImagePositionPatient = [float(v) for v in position]
    save(folder, found)
    return stack.scattered(
        ramps(0, 9), positions, "<i2", status="bad", codes=frozenset({"uneven_spacing"})
    )


@case("every position twice, and nothing says which comes first", PLANE)
def duplicate_positions(folder):
    stack = Stack(count=6)
    found = slices("duplicate_positions", "CT", stack)
    found += slices("duplicate_positions", "CT", stack, first=6)
    save(folder, found)
    bad = {"status": "bad", "codes": frozenset({"duplicate_positions", "split_from"})}
    return [
        stack.expected(ramps(0, 6), "<i2", **bad),
        stack.expected(ramps(6, 6), "<i2", suffixes=frozenset({"_a2"}), **bad),
    ]


@case("a file is there twice", "PS3.5 9: a SOP Instance UID names one instance")
def same_instance_twice(folder):
    stack = Stack()
    found = slices("same_instance_twice", "CT", stack)
    save(folder, found)
    save(folder, [found[3]], ["copy of 0004.dcm"])
    truth = stack.expected(
        ramps(0, 8), "<i2", status="warn", codes=frozenset({"duplicate_instance"})
    )
    return Truth([truth], frozenset({"duplicate_instance"}))


@case("a slice is there again under another UID", "PS3.5 9: another UID is another instance")
def same_content_other_uid(folder):
    stack = Stack()
    found = slices("same_content_other_uid", "CT", stack)
    again = slices("same_content_other_uid", "CT", stack)[3]
    again.SOPInstanceUID = uid("same_content_other_uid", "again")
    again.InstanceNumber = 9
    save(folder, found + [again])
    truth = stack.expected(
        ramps(0, 8), "<i2", status="warn", codes=frozenset({"duplicate_instance"})
    )
    return Truth([truth], frozenset({"duplicate_instance"}))


@case("sagittal and coronal localizers inside an axial series", PLANE)
def localizers_inside(folder):
    name, truth, found, first = "localizers_inside", [], [], 0
    for orientation, count in (((1, 0, 0, 0, 1, 0), 8), (SAGITTAL, 3), (CORONAL, 2)):
        stack = Stack(count=count, orientation=orientation, step_mm=4.0)
        found += slices(name, "MR", stack, first=first)
        suffixes = frozenset({"_o2", "_o3"} if truth else {""})
        truth.append(stack.expected(ramps(first, count), "<i2", suffixes=suffixes, codes=SPLIT))
        first += count
    save(folder, found[8:] + found[:8])
    return truth


@case("a screenshot inside a CT series", "PS3.3 A.8.1: Secondary Capture has no Image Plane Module")
def screenshot_inside(folder):
    stack, name = Stack(), "screenshot_inside"
    found = slices(name, "CT", stack)
    shot = blank(name, "CT", SECONDARY_CAPTURE, "a", 99)
    del shot.FrameOfReferenceUID
    shot.ImageType, shot.ConversionType = ["DERIVED", "SECONDARY"], "WSD"
    colour = np.stack([bytes8(n, 40, 44) for n in range(3)], axis=-1)
    set_pixels(shot, colour, "u1", photometric="RGB")
    save(folder, [shot] + found)
    return [
        stack.expected(ramps(0, 8), "<i2", codes=SPLIT),
        unplaced(
            colour[None],
            "|u1",
            "zyxc",
            suffixes=frozenset({"_i2"}),
            codes=frozenset({"no_geometry", "split_from"}),
        ),
    ]


@case("gantry tilt of 15 degrees", PLANE + "; the slices are sheared, not turned")
def gantry_tilt(folder):
    tilt = np.radians(15)
    orientation = (1, 0, 0, 0, np.cos(tilt), np.sin(tilt))
    normal = np.cross(orientation[:3], orientation[3:])
    # The table moves along the patient's axis; the planes stay tilted.
    along = np.array([0, 0, 2.5])
    step_mm = float(np.dot(along, normal))
    stack = Stack(
        orientation=orientation, step_mm=step_mm, shear=tuple(along - step_mm * normal)
    )
    save(folder, slices("gantry_tilt", "CT", stack, GantryDetectorTilt="15"))
    return stack.expected(
        ramps(0, 8), "<i2", status="warn", codes=frozenset({"gantry_tilt"})
    )


def turned(name, why, orientation, **more):
    """Registers a case of one stack in one orientation."""
    attributes = more.pop("attributes", {})

    def write(folder):
        stack = Stack(orientation=orientation, **more)
        save(folder, slices(name, "MR", stack, **attributes))
        return stack.expected(ramps(0, stack.count), "<i2")

    write.__name__ = name
    case(why, PLANE)(write)


turned("sagittal", "sagittal planes", SAGITTAL)
turned("coronal", "coronal planes, InstanceNumber against the normal", CORONAL, step_mm=-3.0)
turned("oblique", "planes turned about two axes", rotated((0, 23.0), (2, -31.0)))
turned("oblique_against", "double oblique, stored against the normal",
       rotated((1, 40.0), (0, -17.0)), step_mm=-1.5)
turned("feet_first", "feet first, supine", (-1, 0, 0, 0, 1, 0),
       attributes={"PatientPosition": "FFS"})
turned("decubitus", "left side down", (0, 1, 0, -1, 0, 0),
       attributes={"PatientPosition": "HFDL"})


@case(
    "positions of oblique slices are rounded to 0.01 mm",
    "PS3.5 6.2: DS carries what the writer put there; rounding is no unevenness",
)
def rounded_positions(folder):
    stack = Stack(count=10, orientation=rotated((0, 12.3), (1, 7.7)), step_mm=1.1)
    found = slices("rounded_positions", "MR", stack)
    for k, ds in enumerate(found):
        ds.ImagePositionPatient = [round(float(v), 2) for v in stack.position(k)]
    save(folder, found)
    return stack.expected(ramps(0, 10), "<i2", place_tolerance_mm=0.011)


@case(
    "overlapping slices: thickness 5 mm, positions 2 mm apart, no SpacingBetweenSlices",
    "PS3.3 C.7.6.2: Slice Thickness is nominal and says nothing of the distance of slices",
)
def overlapping_slices(folder):
    stack = Stack(count=9, step_mm=2.0, spacing=(1.5, 0.5))
    found = slices("overlapping_slices", "CT", stack, SliceThickness="5")
    save(folder, found)
    return stack.expected(ramps(0, 9), "<i2")


@case("two series in one folder", "PS3.3 C.7.3.1: the UID names the series, the folder does not")
def two_series_in_a_folder(folder):
    name, stack = "two_series_in_a_folder", Stack(count=7)
    a = slices(name, "CT", stack)
    b = slices(name, "CT", stack, series="b", first=7)
    save(folder, [ds for pair in zip(a, b) for ds in pair])
    return [stack.expected(ramps(0, 7), "<i2"), stack.expected(ramps(7, 7), "<i2")]


@case("two series of other matrix share one UID", "reported of real archives; nothing fits both")
def shared_uid_other_matrix(folder):
    name, stack = "shared_uid_other_matrix", Stack(count=7)
    small = Stack(count=5, spacing=(1.6, 1.4))
    frames = ramps(40, 5, ROWS // 2, COLUMNS // 2)
    found = slices(name, "CT", stack)
    found += slices(name, "CT", small, frames, first=7)
    save(folder, found)
    return [
        stack.expected(ramps(0, 7), "<i2", codes=SPLIT),
        small.expected(frames, "<i2", codes=SPLIT, suffixes=frozenset({"_o2"})),
    ]


@case("two series of other orientation share one UID", PLANE)
def shared_uid_other_orientation(folder):
    name, stack = "shared_uid_other_orientation", Stack(count=7)
    other = Stack(count=5, orientation=CORONAL)
    found = slices(name, "MR", other, first=7) + slices(name, "MR", stack)
    save(folder, found)
    return [
        stack.expected(ramps(0, 7), "<i2", codes=SPLIT),
        other.expected(ramps(7, 5), "<i2", codes=SPLIT, suffixes=frozenset({"_o2"})),
    ]


@case("a lone slice", "PS3.3 C.7.6.2: one plane has a place too")
def lone_slice(folder):
    stack = Stack(count=1, step_mm=5.0)
    save(folder, slices("lone_slice", "CT", stack))
    return stack.expected(ramp(0)[None], "<i2")
