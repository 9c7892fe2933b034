"""Cases of multi-frame objects with functional groups (PS3.3 C.7.6.16)."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dataset import SAGITTAL, Stack, blank, bytes8, ramps, save, set_pixels, uid
from truth import case

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
GROUPS = "PS3.3 C.7.6.16.2: each frame has the position of its own functional group"


def item(**attributes):
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def one(**attributes):
    return Sequence([item(**attributes)])


def measures(stack):
    return one(PixelSpacing=list(stack.spacing), SliceThickness=abs(stack.step_mm))


def frame_group(stack, k, temporal=None, stack_id="1", **more):
    """Functional groups of the frame in plane k: content, position, orientation."""
    content = item(StackID=stack_id, InStackPositionNumber=k + 1)
    content.DimensionIndexValues = [k + 1] if temporal is None else [k + 1, temporal]
    content.FrameAcquisitionNumber = 1
    if temporal is not None:
        content.TemporalPositionIndex = temporal
    group = Dataset()
    group.FrameContentSequence = Sequence([content])
    group.PlanePositionSequence = one(ImagePositionPatient=list(map(float, stack.position(k))))
    group.PlaneOrientationSequence = one(ImageOrientationPatient=list(map(float, stack.orientation)))
    for keyword, value in more.items():
        setattr(group, keyword, value)
    return group


def dimensions(ds, *pointers):
    """Multi-frame Dimension Module (PS3.3 C.7.6.17): (attribute, its sequence) each."""
    organization = uid(ds.SOPInstanceUID, "dimensions")
    ds.DimensionOrganizationSequence = one(DimensionOrganizationUID=organization)
    ds.DimensionIndexSequence = Sequence(
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=attribute,
            FunctionalGroupPointer=group,
        )
        for attribute, group in pointers
    )


IN_STACK = (0x00209057, 0x00209111)
TEMPORAL = (0x00209128, 0x00209111)
STACK_ID = (0x00209056, 0x00209111)


def enhanced(name, modality, frames, groups, shared, dtype="<i2", **attributes):
    """An enhanced object of these frames, in this order."""
    ds = blank(name, modality, {"MR": ENHANCED_MR, "CT": ENHANCED_CT}[modality])
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.AcquisitionDateTime = "20240506101500"
    if modality == "MR":
        ds.MagneticFieldStrength, ds.ResonantNucleus = 3.0, "1H"
        ds.ComplexImageComponent, ds.AcquisitionContrast = "MAGNITUDE", "T1"
    set_pixels(ds, frames, dtype)
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dimensions(ds, IN_STACK)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


@case("enhanced MR, frames in no order", GROUPS)
def enhanced_shuffled(folder):
    stack = Stack(count=8)
    order = [5, 0, 7, 2, 6, 1, 4, 3]
    shared = item(PixelMeasuresSequence=measures(stack))
    groups = [frame_group(stack, k) for k in order]
    save(folder, [enhanced("enhanced_shuffled", "MR", ramps(0, 8)[order], groups, shared)])
    return stack.expected(ramps(0, 8), "<i2")


@case("enhanced CT, a slope and intercept of its own for each frame",
      "PS3.3 C.7.6.16.2.9: Pixel Value Transformation, by frame")
def enhanced_rescale_by_frame(folder):
    stack = Stack(count=6, step_mm=-2.0)
    rescale = [(1.0, -1024.0), (0.5, -1000.0), (2.0, 0.0), (1.0, -1024.0), (1.5, 3.0), (0.25, 0.0)]
    shared = item(PixelMeasuresSequence=measures(stack))
    groups = [
        frame_group(
            stack,
            k,
            PixelValueTransformationSequence=one(
                RescaleSlope=str(slope), RescaleIntercept=str(intercept), RescaleType="HU"
            ),
        )
        for k, (slope, intercept) in enumerate(rescale)
    ]
    save(folder, [enhanced("enhanced_rescale_by_frame", "CT", ramps(0, 6), groups, shared)])
    slopes, intercepts = np.array(rescale).T[:, :, None, None]
    return stack.expected(
        ramps(0, 6) * slopes + intercepts, "<f4", codes=frozenset({"mixed_rescale"})
    )


@case("enhanced MR with an axial and a sagittal stack",
      "PS3.3 C.7.6.16.2.2: Stack ID tells stacks of one object apart")
def enhanced_two_stacks(folder):
    a, b = Stack(count=6), Stack(count=4, orientation=SAGITTAL, step_mm=3.0)
    shared = item(PixelMeasuresSequence=measures(a))
    groups = [frame_group(a, k) for k in range(6)]
    groups += [frame_group(b, k, stack_id="2") for k in range(4)]
    ds = enhanced("enhanced_two_stacks", "MR", ramps(0, 10), groups, shared)
    dimensions(ds, STACK_ID, IN_STACK)
    for group in groups:
        content = group.FrameContentSequence[0]
        content.DimensionIndexValues = [int(content.StackID), content.InStackPositionNumber]
    save(folder, [ds])
    codes = frozenset({"split_from"})
    return [
        a.expected(ramps(0, 6), "<i2", codes=codes),
        b.expected(ramps(6, 4), "<i2", codes=codes, suffixes=frozenset({"_o2"})),
    ]


@case("enhanced fMRI, all times of one slice after the other",
      "PS3.3 C.7.6.16.2.2: Temporal Position Index")
def enhanced_functional(folder):
    stack, times = Stack(count=5), 3
    shared = item(PixelMeasuresSequence=measures(stack))
    pairs = [(k, t) for k in range(5) for t in range(times)]
    groups = [frame_group(stack, k, temporal=t + 1) for k, t in pairs]
    frames = ramps(0, 15).reshape(times, 5, *ramps(0, 1).shape[1:])
    stored = np.stack([frames[t, k] for k, t in pairs])
    ds = enhanced("enhanced_functional", "MR", stored, groups, shared)
    dimensions(ds, IN_STACK, TEMPORAL)
    save(folder, [ds])
    return stack.expected(frames, "<i2", axes="tzyx", codes=frozenset({"time_axis"}))


@case("one time point an enhanced object, three objects of one series",
      "PS3.3 C.7.6.16.2.2.4, as above; Temporal Position Index tells the objects apart")
def enhanced_object_a_time_point(folder):
    stack, found = Stack(count=5), []
    shared = item(PixelMeasuresSequence=measures(stack))
    for t in range(3):
        groups = [frame_group(stack, k, temporal=t + 1) for k in range(5)]
        ds = enhanced("enhanced_object_a_time_point", "MR", ramps(5 * t, 5), groups, shared)
        dimensions(ds, IN_STACK, TEMPORAL)
        ds.SOPInstanceUID = uid("enhanced_object_a_time_point", t)
        ds.InstanceNumber, ds.AcquisitionNumber = t + 1, t + 1
        ds.AcquisitionDateTime = f"2024050610150{2 * t}"
        found.append(ds)
    save(folder, found)
    frames = ramps(0, 15).reshape(3, 5, *ramps(0, 1).shape[1:])
    return stack.expected(frames, "<i2", axes="tzyx", codes=frozenset({"time_axis"}))


@case("one series in two enhanced objects of four slices each",
      "PS3.3 C.7.6.16.2.2.4: a stack is one by Stack ID and Dimension Organization, not by object")
def enhanced_in_two_objects(folder):
    stack, found = Stack(count=8), []
    shared = item(PixelMeasuresSequence=measures(stack))
    for part in (1, 0):
        planes = range(4 * part, 4 * part + 4)
        groups = [frame_group(stack, k) for k in planes]
        ds = enhanced("enhanced_in_two_objects", "CT", ramps(4 * part, 4), groups, shared)
        ds.SOPInstanceUID = uid("enhanced_in_two_objects", part)
        ds.InstanceNumber = part + 1
        found.append(ds)
    save(folder, found)
    return stack.expected(ramps(0, 8), "<i2")


@case("enhanced diffusion, b = 0 and b = 1000 s/mm2", "PS3.3 C.8.13.5.9: MR Diffusion, by frame")
def enhanced_diffusion(folder):
    stack = Stack(count=5)
    shared = item(PixelMeasuresSequence=measures(stack))
    groups = [
        frame_group(
            stack,
            k,
            MRDiffusionSequence=one(
                DiffusionBValue=b, DiffusionDirectionality="ISOTROPIC" if b else "NONE"
            ),
        )
        for b in (1000.0, 0.0)
        for k in range(5)
    ]
    frames = ramps(0, 10).reshape(2, 5, *ramps(0, 1).shape[1:])
    save(folder, [enhanced("enhanced_diffusion", "MR", ramps(0, 10), groups, shared)])
    return stack.expected(frames[::-1], "<i2", axes="tzyx", codes=frozenset({"time_axis"}))


@case("enhanced MR with two echoes", "PS3.3 C.8.13.5.4: MR Echo, by frame")
def enhanced_echoes(folder):
    stack = Stack(count=5)
    shared = item(PixelMeasuresSequence=measures(stack))
    groups = [
        frame_group(stack, k, MREchoSequence=one(EffectiveEchoTime=ms))
        for k in range(5)
        for ms in (4.5, 9.0)
    ]
    frames = ramps(0, 10).reshape(2, 5, *ramps(0, 1).shape[1:])
    stored = frames.transpose(1, 0, 2, 3).reshape(10, *frames.shape[2:])
    save(folder, [enhanced("enhanced_echoes", "MR", stored, groups, shared)])
    codes = frozenset({"split_from"})
    return [
        stack.expected(frames[0], "<i2", codes=codes),
        stack.expected(frames[1], "<i2", codes=codes, suffixes=frozenset({"_e2"})),
    ]


@case("an ultrasound volume at two times", "PS3.3 C.8.24.6.1: Plane Position (Volume), not of the patient")
def ultrasound_volume(folder):
    stack, groups = Stack(count=5, spacing=(0.4, 0.3), origin=(0, 0, 0), step_mm=0.5), []
    for t in range(2):
        for k in range(5):
            group = Dataset()
            group.FrameContentSequence = one(DimensionIndexValues=[t + 1, k + 1])
            group.TemporalPositionSequence = one(TemporalPositionTimeOffset=0.05 * t)
            position = list(map(float, stack.position(k)))
            group.PlanePositionVolumeSequence = one(ImagePositionVolume=position)
            orientation = list(map(float, stack.orientation))
            group.PlaneOrientationVolumeSequence = one(ImageOrientationVolume=orientation)
            groups.append(group)
    ds = blank("ultrasound_volume", "US", "1.2.840.10008.5.1.4.1.1.6.2")
    set_pixels(ds, np.stack([bytes8(n) for n in range(10)]), "u1")
    ds.SharedFunctionalGroupsSequence = one(PixelMeasuresSequence=measures(stack))
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dimensions(ds, (0x0020930D, 0x00209310), (0x00209301, 0x0020930E))
    save(folder, [ds])
    frames = np.stack([bytes8(n) for n in range(10)]).reshape(2, 5, *bytes8(0).shape)
    codes = frozenset({"time_axis", "volume_coordinates"})
    return stack.expected(frames, "|u1", axes="tzyx", status="warn", codes=codes)
