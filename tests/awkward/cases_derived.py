"""Cases of segmentations, parametric maps, dose and nuclear medicine."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cases_enhanced import dimensions, item, measures, one
from dataset import (
    COLUMNS,
    ROWS,
    Stack,
    blank,
    put_bytes,
    ramp,
    ramps,
    save,
    set_pixels,
)
from truth import case

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
NM = "1.2.840.10008.5.1.4.1.1.20"


def segment(number):
    code = item(CodeValue="123037004", CodingSchemeDesignator="SCT", CodeMeaning="Body structure")
    return item(
        SegmentNumber=number,
        SegmentLabel=f"segment {number}",
        SegmentAlgorithmType="MANUAL",
        SegmentedPropertyCategoryCodeSequence=Sequence([code]),
        SegmentedPropertyTypeCodeSequence=Sequence([code]),
    )


def functional(ds, stack, planes, segments=None):
    """Functional groups of frames in these planes, each of the segment beside it."""
    shared = item(PixelMeasuresSequence=measures(stack))
    shared.PlaneOrientationSequence = one(ImageOrientationPatient=list(stack.orientation))
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for index, k in enumerate(planes):
        group = Dataset()
        number = [segments[index]] if segments else []
        group.FrameContentSequence = one(DimensionIndexValues=number + [k + 1])
        group.PlanePositionSequence = one(ImagePositionPatient=list(map(float, stack.position(k))))
        if segments:
            group.SegmentIdentificationSequence = one(ReferencedSegmentNumber=segments[index])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    position = (0x00200032, 0x00209113)
    dimensions(ds, *(((0x0062000B, 0x0062000A), position) if segments else (position,)))


def segmentation(name, sop_class, kind, segments):
    ds = blank(name, "SEG", sop_class)
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.SegmentationType = kind
    ds.ContentLabel, ds.ContentDescription = "SEGMENTS", ""
    ds.LossyImageCompression = "00"
    ds.SegmentSequence = Sequence([segment(n + 1) for n in range(segments)])
    return ds


def masks(sizes):
    """Masks that tell flips, turns and each other apart."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    return np.stack(
        [(y >= 2 + k) & (y < 14 + k // 2) & (x >= 4 + y // 3 + k) & (x < 25) for k in sizes]
    ).astype(int)


@case("SEG, binary, two segments, empty frames left out",
      "PS3.3 C.8.20.2: a frame holds one segment; PS3.5 8.1.1: frames of bits are packed, unpadded")
def seg_binary(folder):
    stack = Stack(count=6)
    ds = segmentation("seg_binary", SEGMENTATION, "BINARY", 2)
    # Segment 1 is in planes 0 to 3, segment 2 in 2 to 5. A frame of 23 x 21 bits ends inside a byte.
    low, high = masks([0, 1, 2, 3])[:, :23, :21], masks([7, 6, 5, 4])[:, :23, :21]
    planes, numbers = [3, 2, 1, 0, 2, 3, 4, 5], [1] * 4 + [2] * 4
    stored = np.concatenate([low[::-1], high])
    set_pixels(ds, stored, "u1")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    put_bytes(ds, np.packbits(stored.astype("u1").ravel(), bitorder="little").tobytes())
    functional(ds, stack, planes, numbers)
    save(folder, [ds])
    truth = np.zeros((2, 6, 23, 21))
    truth[0, 0:4], truth[1, 2:6] = low, high
    return stack.expected(truth, "|u1", axes="szyx")


@case("SEG, fractional, two segments",
      "PS3.3 C.8.20.2.3: values up to Maximum Fractional Value, shown as stored")
def seg_fractional(folder):
    stack = Stack(count=4, step_mm=-2.0)
    ds = segmentation("seg_fractional", SEGMENTATION, "FRACTIONAL", 2)
    ds.SegmentationFractionalType, ds.MaximumFractionalValue = "PROBABILITY", 200
    values = np.stack([(ramp(k) * 7 + k) % 201 for k in range(8)])
    set_pixels(ds, values, "u1")
    functional(ds, stack, list(range(4)) * 2, [1] * 4 + [2] * 4)
    save(folder, [ds])
    return stack.expected(values.reshape(2, 4, ROWS, COLUMNS), "|u1", axes="szyx")


def label_map(folder, name, palette):
    """Labels 0 to 4, shown by a palette if there is one: the pixels are labels all the same."""
    stack = Stack(count=6)
    ds = segmentation(name, LABEL_MAP, "LABELMAP", 4)
    ds.PixelPaddingValue = 0
    ds["PixelPaddingValue"].VR = "US"
    labels = np.stack([(ramp(k) // (5 + k)) % 5 for k in range(6)])
    order = [3, 0, 5, 1, 4, 2]
    set_pixels(ds, labels[order], "u1")
    if palette:
        ds.PhotometricInterpretation = "PALETTE COLOR"
        for colour, factor in (("Red", 40), ("Green", 50), ("Blue", 63)):
            table = (np.arange(256) * factor % 256).astype("u1")
            setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 8])
            ds[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
            setattr(ds, f"{colour}PaletteColorLookupTableData", table.tobytes())
    functional(ds, stack, order)
    save(folder, [ds])
    return stack.expected(labels, "|u1")


@case("SEG, label map, frames in no order",
      "PS3.3 C.8.20.2.3: the value of a pixel is the number of its segment")
def seg_label_map(folder):
    return label_map(folder, "seg_label_map", False)


@case("SEG, label map with a palette",
      "PS3.3 C.8.20.2: Photometric Interpretation may be PALETTE COLOR; values are labels still")
def seg_label_map_palette(folder):
    return label_map(folder, "seg_label_map_palette", True)


def real_world(slope, intercept, first, last, is_float):
    mapping = item(
        LUTLabel="T1",
        LUTExplanation="T1",
        RealWorldValueSlope=slope,
        RealWorldValueIntercept=intercept,
        MeasurementUnitsCodeSequence=one(
            CodeValue="ms", CodingSchemeDesignator="UCUM", CodeMeaning="millisecond"
        ),
    )
    if is_float:
        mapping.DoubleFloatRealWorldValueFirstValueMapped = first
        mapping.DoubleFloatRealWorldValueLastValueMapped = last
    else:
        mapping.add_new(0x00409216, "US", first)
        mapping.add_new(0x00409211, "US", last)
    return Sequence([mapping])


def parametric(name):
    ds = blank(name, "MR", PARAMETRIC_MAP)
    ds.ImageType = ["DERIVED", "PRIMARY", "T1", "QUANTITATIVE"]
    ds.ContentLabel, ds.ContentDescription = "T1", ""
    return ds


@case("a parametric map in Float Pixel Data", "PS3.3 C.7.6.24: IEEE 754, no Bits Stored")
def parametric_map_float(folder):
    stack = Stack(count=5)
    ds = parametric("parametric_map_float")
    values = (ramps(0, 5) * 0.37 - 100).astype("<f4")
    set_pixels(ds, np.zeros(values.shape), "<f4")
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, keyword)
    order = [4, 0, 3, 1, 2]
    ds.FloatPixelData = values[order].tobytes()
    functional(ds, stack, order)
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.RealWorldValueMappingSequence = real_world(1.0, 0.0, -1e5, 1e5, True)
    save(folder, [ds])
    return stack.expected(values, "<f4")


@case("a parametric map of integers with a Real World Value Mapping and no rescale",
      "PS3.3 C.7.6.16.2.11.1.2: real world value = slope * stored + intercept")
def parametric_map_integer(folder):
    stack = Stack(count=5)
    ds = parametric("parametric_map_integer")
    set_pixels(ds, ramps(0, 5), "<u2")
    functional(ds, stack, list(range(5)))
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.RealWorldValueMappingSequence = real_world(0.5, -10.25, 0, 65535, False)
    save(folder, [ds])
    return stack.expected(ramps(0, 5) * 0.5 - 10.25, "<f4")


@case("two maps in one object, of other units", "PS3.3 C.7.6.16.2.11: each frame has its own mapping")
def parametric_map_of_two(folder):
    stack = Stack(count=4)
    ds = parametric("parametric_map_of_two")
    set_pixels(ds, ramps(0, 8), "<u2")
    functional(ds, stack, list(range(4)) * 2)
    for index, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        mapping = real_world(0.5 if index < 4 else 0.001, 0.0, 0, 65535, False)
        if index >= 4:
            mapping[0].LUTLabel, mapping[0].MeasurementUnitsCodeSequence[0].CodeValue = "FA", "1"
        group.RealWorldValueMappingSequence = mapping
    save(folder, [ds])
    codes = frozenset({"split_from"})
    return [
        stack.expected(ramps(0, 4) * 0.5, "<f4", codes=codes),
        stack.expected(ramps(4, 4) * 0.001, "<f4", codes=codes, suffixes=frozenset({"_a2"})),
    ]


def dose(name, stack, offsets, stored, dtype, scaling, **attributes):
    ds = blank(name, "RTDOSE", RT_DOSE)
    set_pixels(ds, stored, dtype)
    ds.ImagePositionPatient = [float(v) for v in stack.position(0)]
    ds.ImageOrientationPatient = list(stack.orientation)
    ds.PixelSpacing, ds.SliceThickness = list(stack.spacing), ""
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    ds.FrameIncrementPointer = 0x3004000C
    ds.GridFrameOffsetVector = [float(v) for v in offsets]
    ds.DoseGridScaling = str(scaling)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


DOSE = (
    "PS3.3 C.8.8.3: dose = stored * Dose Grid Scaling; C.8.8.3.2: planes by Grid Frame Offset Vector"
)


@case("dose of 12 bits in 32", DOSE)
def dose_scaled(folder):
    stack = Stack(count=5, step_mm=3.0)
    stored = np.stack([ramp(k) % 4096 for k in range(5)])
    offsets = [0, 3, 6, 9, 12]
    ds = dose("dose_scaled", stack, offsets, stored, "<u4", 0.00125, BitsStored=12, HighBit=11)
    save(folder, [ds])
    return stack.expected(stored * 0.00125, "<f8")


@case("dose whose planes descend", DOSE + ": offsets may be negative")
def dose_descending(folder):
    stack = Stack(count=5, step_mm=-2.5)
    offsets = [-2.5 * k for k in range(5)]
    save(folder, [dose("dose_descending", stack, offsets, ramps(0, 5), "<u2", 0.5)])
    return stack.expected(ramps(0, 5) * 0.5, "<f4")


@case("dose with absolute offsets", DOSE + ", option b")
def dose_absolute_offsets(folder):
    stack = Stack(count=5, step_mm=2.5)
    offsets = [stack.position(k)[2] for k in range(5)]
    save(folder, [dose("dose_absolute_offsets", stack, offsets, ramps(0, 5), "<u2", 0.25)])
    return stack.expected(ramps(0, 5) * 0.25, "<f4")


@case("NM reconstruction, spacing negative",
      "PS3.3 C.8.4.15: the sign of Spacing Between Slices is the direction of stacking along "
      "the cross product of row and column; C.8.4.11: position and orientation per detector")
def nm_reconstruction(folder):
    stack = Stack(count=7, step_mm=-4.0, spacing=(4.0, 4.0))
    ds = blank("nm_reconstruction", "NM", NM)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    set_pixels(ds, ramps(0, 7), "<u2")
    ds.FrameIncrementPointer = 0x00540080
    ds.SliceVector = list(range(1, 8))
    ds.NumberOfSlices = 7
    ds.NumberOfDetectors = 1
    ds.PixelSpacing, ds.SliceThickness = list(stack.spacing), "4"
    ds.SpacingBetweenSlices = "-4"
    ds.DetectorInformationSequence = one(
        CollimatorType="PARA",
        ImagePositionPatient=[float(v) for v in stack.position(0)],
        ImageOrientationPatient=list(stack.orientation),
    )
    save(folder, [ds])
    return stack.expected(ramps(0, 7), "<u2")
