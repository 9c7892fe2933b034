"""Cases of series that are more, or less, than they seem: slabs, fans, cines, strays, odd files."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cases_enhanced import enhanced, frame_group, item, measures, one
from dataset import ROWS, COLUMNS, Stack, put_bytes, ramps, save, slices, uid
from truth import case

SPLIT = frozenset({"split_from"})


@case("two acquisitions of adjacent slabs in one series",
      "PS3.3 C.7.6.1: Acquisition Number counts periods of gathering, here of one stack")
def two_slabs(folder):
    stack = Stack()
    found = slices("two_slabs", "CT", stack)
    for k, ds in enumerate(found):
        ds.AcquisitionNumber = 2 - k // 4
        ds.AcquisitionTime = f"1015{10 + 20 * (1 - k // 4)}.5"
        ds.InstanceNumber = k % 4 * 2 + k // 4 + 1
    save(folder, found)
    return stack.expected(ramps(0, 8), "<i2")


@case("a fan of five planes about one axis", "PS3.3 C.7.6.2.1.1: no two are parallel")
def radial_planes(folder):
    truth, found = [], []
    for n in range(5):
        angle = np.radians(36.0 * n)
        plane = (np.cos(angle), np.sin(angle), 0, 0, 0, -1)
        stack = Stack(count=1, orientation=plane, step_mm=4.0)
        found += slices("radial_planes", "MR", stack, first=n)
        suffixes = frozenset({f"_o{n + 1}" if n else ""})
        truth.append(stack.expected(ramps(n, 1), "<i2", codes=SPLIT, suffixes=suffixes))
    save(folder, found)
    return truth


@case("a cine of one slice: 12 phases by TriggerTime",
      "PS3.3 C.8.3.1: Trigger Time runs from the R wave")
def single_slice_cine(folder):
    stack, found = Stack(count=1, orientation=(0, 1, 0, 0, 0, -1)), []
    for t in range(12):
        found += slices("single_slice_cine", "MR", stack, first=t, TriggerTime=33.3 * t)
    save(folder, found[::-1])
    frames = ramps(0, 12)[:, None]
    return stack.expected(frames, "<i2", axes="tzyx", codes=frozenset({"time_axis"}))


@case("dynamic PET: AcquisitionTime orders, and each slice of each time has its own slope",
      "PS3.3 C.8.9.4: Frame Reference Time, and slopes by image")
def dynamic_pet(folder):
    stack, found, slopes = Stack(count=5), [], 0.25 + 0.1 * np.arange(15)
    for t in range(3):
        found += slices("dynamic_pet", "PT", stack, first=5 * t, Units="BQML",
                        AcquisitionTime=f"10{15 + 2 * t}00", FrameReferenceTime=60000.0 * t)
    for ds, slope in zip(found, slopes):
        ds.RescaleSlope = f"{slope:.3f}"
        ds.SeriesType, ds.NumberOfTimeSlices = ["DYNAMIC", "IMAGE"], 3
    save(folder, found)
    exact = np.array([float(ds.RescaleSlope) for ds in found])
    frames = (ramps(0, 15) * exact[:, None, None]).reshape(3, 5, ROWS, COLUMNS)
    codes = frozenset({"time_axis", "mixed_rescale"})
    return stack.expected(frames, "<f4", axes="tzyx", codes=codes)


@case("two echoes, each as magnitude and phase: four volumes in one series",
      "PS3.3 C.8.3.1: Echo Time; C.7.6.1.1.2: Image Type, Value 3")
def echoes_with_phase(folder):
    stack, found, truth = Stack(count=5), [], []
    kinds = [("M", 4.92, {""}), ("M", 7.38, {"_e2"}), ("P", 4.92, {"_ph"}),
             ("P", 7.38, {"_ph_e2", "_e2_ph"})]
    for n, (part, ms, suffixes) in enumerate(kinds):
        volume = slices("echoes_with_phase", "MR", stack, first=5 * n, EchoTime=ms)
        for ds in volume:
            ds.ImageType, ds.EchoNumbers = ["ORIGINAL", "PRIMARY", part, "ND"], 1 + n % 2
        found += volume
        truth.append(
            stack.expected(ramps(5 * n, 5), "<i2", codes=SPLIT, suffixes=frozenset(suffixes))
        )
    save(folder, [found[n] for n in np.random.default_rng(3).permutation(20)])
    return truth


@case("enhanced MR with magnitude and phase", "PS3.3 C.8.13.5.1: Complex Image Component, by frame")
def enhanced_magnitude_and_phase(folder):
    stack = Stack(count=5)
    shared = item(PixelMeasuresSequence=measures(stack))
    groups = [
        frame_group(
            stack,
            k,
            MRImageFrameTypeSequence=one(
                FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], ComplexImageComponent=part
            ),
        )
        for part in ("PHASE", "MAGNITUDE")
        for k in range(5)
    ]
    ds = enhanced("enhanced_magnitude_and_phase", "MR", ramps(0, 10), groups, shared)
    ds.ComplexImageComponent = "MIXED"
    save(folder, [ds])
    return [
        stack.expected(ramps(5, 5), "<i2", codes=SPLIT),
        stack.expected(ramps(0, 5), "<i2", codes=SPLIT, suffixes=frozenset({"_ph"})),
    ]


@case("one slice of eight lacks its position",
      "PS3.3 C.7.6.2: Type 1, yet it happens; nothing says where it belongs")
def one_slice_without_position(folder):
    stack, keep = Stack(), [0, 1, 2, 3, 5, 6, 7]
    found = slices("one_slice_without_position", "CT", stack)
    del found[4].ImagePositionPatient
    save(folder, found)
    lone = stack.expected(
        ramps(4, 1),
        "<i2",
        status="warn",
        codes=frozenset({"no_geometry", "split_from"}),
        suffixes=frozenset({"_i2"}),
    )
    lone.affine = None
    placed = stack.scattered(
        ramps(0, 8)[keep],
        [stack.position(k) for k in keep],
        "<i2",
        status="warn",
        codes=frozenset({"missing_slices", "split_from"}),
    )
    return [placed, lone]


@case("slices of one series name two Frames of Reference",
      "PS3.3 C.7.4.1: positions in two frames cannot be compared; they are shown, with a warning")
def two_frames_of_reference(folder):
    stack = Stack()
    found = slices("two_frames_of_reference", "CT", stack)
    for ds in found[4:]:
        ds.FrameOfReferenceUID = uid("two_frames_of_reference", "other")
    save(folder, found)
    return stack.expected(
        ramps(0, 8), "<i2", status="warn", codes=frozenset({"mixed_frame_of_reference"})
    )


@case("sequences of undefined length, nested and private, before the pixels",
      "PS3.5 7.5.1: they end at their delimiters")
def undefined_lengths(folder):
    stack = Stack(count=5)
    found = slices("undefined_lengths", "MR", stack)
    for ds in found:
        deep = Dataset()
        deep.ReferencedSOPInstanceUID = uid("undefined_lengths", "deep")
        # What is inside a sequence is not the slice's own.
        inner = item(ImagePositionPatient=[900, 900, 900], RescaleSlope="7", Rows=3)
        inner.ReferencedImageSequence = Sequence([deep])
        inner["ReferencedImageSequence"].is_undefined_length = True
        inner.is_undefined_length_sequence_item = True
        ds.SourceImageSequence = Sequence([inner])
        ds["SourceImageSequence"].is_undefined_length = True
        block = ds.private_block(0x0021, "EXAMPLE", create=True)
        block.add_new(0x01, "SQ", Sequence([inner]))
        ds[0x00211001].is_undefined_length = True
    save(folder, found)
    return stack.expected(ramps(0, 5), "<i2")


@case("files without preamble and meta information, implicit VR",
      "PS3.10 7.1 demands them; older archives have none")
def without_meta_information(folder):
    stack = Stack(count=5)
    folder.mkdir(parents=True)
    for k, ds in enumerate(slices("without_meta_information", "CT", stack)):
        path = folder / f"{k:04}.dcm"
        ds.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    return stack.expected(
        ramps(0, 5), "<i2", status="warn", codes=frozenset({"transfer_syntax_assumed"})
    )


@case("Pixel Data is longer than the frame", "PS3.5 8.1.1: what follows the last frame is padding")
def trailing_bytes(folder):
    stack = Stack(count=5)
    found = slices("trailing_bytes", "CT", stack)
    for ds in found:
        put_bytes(ds, ds.PixelData + b"\xff" * 128)
    save(folder, found)
    return stack.expected(ramps(0, 5), "<i2")
