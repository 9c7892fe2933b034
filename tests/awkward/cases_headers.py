"""Cases of odd headers and of folders that hold more than one series of images."""

import numpy as np

from cases_enhanced import GROUPS, enhanced, frame_group, item, measures
from dataset import (
    AXIAL,
    SECONDARY_CAPTURE,
    Stack,
    blank,
    place,
    ramp,
    ramps,
    save,
    set_pixels,
    slices,
    uid,
    unplaced,
)
from truth import Truth, case

PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"


@case("notes, an empty file and a presentation state beside the slices",
      "PS3.10 7.1: a file without the prefix is no DICOM file; PS3.3 A.33: a state holds no image")
def other_files_beside(folder):
    name, stack = "other_files_beside", Stack()
    save(folder, slices(name, "CT", stack))
    (folder / "README.txt").write_text("DICM is a word too\n")
    (folder / "empty.dcm").touch()
    state = blank(name, "PR", PRESENTATION_STATE, "b")
    state.ContentLabel, state.PresentationCreationDate = "NOTES", "20240506"
    save(folder, [state], ["state.dcm"])
    return Truth([stack.expected(ramps(0, 8), "<i2")], frozenset({"not_an_image"}))


@case("three captures without geometry in one series",
      "PS3.3 A.8.1: Secondary Capture has no Image Plane Module; nothing puts them on one axis")
def series_without_geometry(folder):
    name, found, truth = "series_without_geometry", [], []
    more = {"codes": frozenset({"no_geometry", "split_from"})}
    for n in range(3):
        ds = blank(name, "OT", SECONDARY_CAPTURE, instance=n)
        del ds.FrameOfReferenceUID
        ds.ConversionType = "WSD"
        set_pixels(ds, ramp(n), "<u2")
        found.append(ds)
        suffixes = frozenset({f"_i{n + 1}" if n else ""})
        truth.append(unplaced(ramp(n)[None], "<u2", "zyx", suffixes=suffixes, **more))
    save(folder, found)
    return truth


@case("positions with exponents, signs and spaces", "PS3.5 6.2: all of these are Decimal Strings")
def odd_decimals(folder):
    stack = Stack(count=6)
    found = slices("odd_decimals", "CT", stack)
    for k, ds in enumerate(found):
        x, y, z = stack.position(k)
        ds.ImagePositionPatient = [f"{x:.4E}", f" +{y:.3f} ", f"{z * 10:.2f}e-1"]
        ds.ImageOrientationPatient = ["1.", "-0", "0.000", "+0", "1.0E0", "-0.0"]
        ds.PixelSpacing = ["8.0E-1", " .7"]
    save(folder, found)
    return stack.expected(ramps(0, 6), "<i2")


@case("direction cosines differ in the fifth digit from slice to slice",
      "PS3.5 6.2: DS carries what the writer put there; this is rounding, not another plane")
def orientation_noise(folder):
    turn = np.radians(11.0)
    c, s = np.cos(turn), np.sin(turn)
    stack = Stack(orientation=(c, s, 0, -s, c, 0))
    found = slices("orientation_noise", "MR", stack)
    for k, ds in enumerate(found):
        noise = (k % 3 - 1) * 2e-5
        a, b = np.cos(turn + noise), np.sin(turn + noise)
        ds.ImageOrientationPatient = [round(float(v), 6) for v in (a, b, 0, -b, a, 0)]
    save(folder, found)
    return stack.expected(ramps(0, 8), "<i2")


@case("Bits Stored differs from slice to slice", "PS3.5 8.1.1: it says which bits hold the value")
def bits_stored_differ(folder):
    stack = Stack(count=6)
    frames = np.stack([ramp(k) % 4096 if k % 2 else ramp(k) * 14 for k in range(6)])
    found = slices("bits_stored_differ", "MR", stack, frames, dtype="<u2")
    for ds in found[1::2]:
        ds.BitsStored, ds.HighBit = 12, 11
    save(folder, found)
    return stack.expected(frames, "<u2")


@case("enhanced MR, one object of one frame a slice, InstanceNumber in no order", GROUPS)
def enhanced_single_frames(folder):
    name, stack, found = "enhanced_single_frames", Stack(), []
    shared = item(PixelMeasuresSequence=measures(stack))
    for number, k in enumerate([5, 0, 7, 2, 6, 1, 4, 3]):
        ds = enhanced(name, "MR", ramps(k, 1), [frame_group(stack, k)], shared)
        ds.SOPInstanceUID, ds.InstanceNumber = uid(name, k), number + 1
        found.append(ds)
    save(folder, found)
    return stack.expected(ramps(0, 8), "<i2")


@case("GE's functional series: NumberOfTemporalPositions, and no attribute of time",
      "PS3.3 C.8.3.1: Number of Temporal Positions; that InstanceNumber orders them is assumed")
def functional_without_times(folder):
    stack, found = Stack(count=5), []
    for t in range(3):
        found += slices("functional_without_times", "MR", stack, first=5 * t,
                        NumberOfTemporalPositions=3)
    for ds in found:
        del ds.AcquisitionTime, ds.ContentTime
    save(folder, found[::-1])
    frames = ramps(0, 15).reshape(3, 5, *ramps(0, 1).shape[1:])
    return stack.expected(
        frames, "<i2", axes="tzyx", status="warn", codes=frozenset({"assumed_time_axis"})
    )


@case("a lone slice without thickness", "PS3.3 C.7.6.2: Slice Thickness is Type 2, may be empty")
def lone_slice_without_thickness(folder):
    stack = Stack(count=1, orientation=AXIAL, step_mm=1.0)
    found = slices("lone_slice_without_thickness", "MR", stack)
    for ds in found:
        place(ds, stack)
        ds.SliceThickness = ""
    save(folder, found)
    return stack.expected(
        ramps(0, 1), "<i2", status="warn", codes=frozenset({"assumed_slice_spacing"})
    )


@case("no Photometric Interpretation, as in ACR-NEMA",
      "it says how to display one sample a pixel, and nothing of its value")
def no_photometric_interpretation(folder):
    stack = Stack(count=4)
    found = slices("no_photometric_interpretation", "CT", stack)
    for ds in found:
        del ds.PhotometricInterpretation
    save(folder, found)
    codes = frozenset({"missing_attribute"})
    return stack.expected(ramps(0, 4), "<i2", status="warn", codes=codes)


@case("High Bit 11 with Bits Stored 16", "PS3.5 8.1.1: 16 bits have but one place in 16")
def high_bit_below_bits_stored(folder):
    stack = Stack(count=4)
    found = slices("high_bit_below_bits_stored", "CT", stack)
    for ds in found:
        ds.HighBit = 11
    save(folder, found)
    codes = frozenset({"malformed_attribute"})
    return stack.expected(ramps(0, 4), "<i2", status="warn", codes=codes)


@case("slices of one series with other units", "PS3.3 C.11.1: Rescale Type says what the output is")
def units_that_differ(folder):
    stack = Stack(count=4)
    found = slices("units_that_differ", "CT", stack)
    for k, ds in enumerate(found):
        ds.RescaleType = "HU" if k < 2 else "US"
    save(folder, found)
    return stack.expected(ramps(0, 4), "<i2", status="warn", codes=frozenset({"mixed_units"}))
