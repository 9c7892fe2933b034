"""Cases of repeated positions: echoes, parts of the signal, phases, time points, b-values."""

import numpy as np

from dataset import Stack, ramps, save, slices
from truth import case

SPLIT = frozenset({"split_from"})
TIME = frozenset({"time_axis"})


def two(name, count=6, modality="MR"):
    """The same stack twice in one series, with other values; InstanceNumber runs on."""
    stack = Stack(count=count)
    return (
        stack,
        slices(name, modality, stack),
        slices(name, modality, stack, first=count),
    )


def set_all(datasets, **attributes):
    for ds in datasets:
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)


def interleave(*groups):
    return [ds for group in zip(*groups) for ds in group]


def siblings(stack, count, suffix, first_may_differ=False):
    """Two volumes of one series, the second with the suffix."""
    first = frozenset({"", suffix[0]}) if first_may_differ else frozenset({""})
    second = frozenset({"", suffix[-1]}) if first_may_differ else frozenset({suffix[-1]})
    return [
        stack.expected(ramps(0, count), "<i2", codes=SPLIT, suffixes=first),
        stack.expected(ramps(count, count), "<i2", codes=SPLIT, suffixes=second),
    ]


def points(stack, count, times, **more):
    """One volume with a leading t axis, its frames counted up by time, then by slice."""
    frames = ramps(0, count * times).reshape((times, count) + ramps(0, 1).shape[1:])
    return stack.expected(frames, "<i2", axes="tzyx", **({"codes": TIME} | more))


@case("two echoes, numbered", "PS3.3 C.8.3.1: Echo Number(s) tells the echoes of a series apart")
def echoes_by_number(folder):
    stack, a, b = two("echoes_by_number")
    set_all(a, EchoNumbers=1, EchoTime=4.92)
    set_all(b, EchoNumbers=2, EchoTime=7.38)
    save(folder, interleave(a, b))
    return siblings(stack, 6, ["_e2"])


@case("two echoes with equal EchoNumbers, told apart by EchoTime", "PS3.3 C.8.3.1")
def echoes_by_time(folder):
    stack, a, b = two("echoes_by_time")
    set_all(a, EchoNumbers=1, EchoTime=4.92)
    set_all(b, EchoNumbers=1, EchoTime=7.38)
    save(folder, interleave(b, a))
    return siblings(stack, 6, ["_e2"])


@case("magnitude and phase by ImageType, Siemens' M and P", "PS3.3 C.7.6.1.1.2, Value 3 and later")
def magnitude_and_phase(folder):
    stack, a, b = two("magnitude_and_phase")
    set_all(a, ImageType=["ORIGINAL", "PRIMARY", "M", "ND"])
    set_all(b, ImageType=["ORIGINAL", "PRIMARY", "P", "ND"])
    save(folder, interleave(b, a))
    return siblings(stack, 6, ["_ph"])


@case("real and imaginary by ImageType", "PS3.3 C.7.6.1.1.2, Value 3 and later")
def real_and_imaginary(folder):
    stack, a, b = two("real_and_imaginary")
    set_all(a, ImageType=["ORIGINAL", "PRIMARY", "REAL"])
    set_all(b, ImageType=["ORIGINAL", "PRIMARY", "IMAGINARY"])
    save(folder, a + b)
    return siblings(stack, 6, ["_real", "_imaginary"], first_may_differ=True)


@case("cardiac phases by TriggerTime, which differs a little from slice to slice",
      "PS3.3 C.8.3.1: Trigger Time runs from the R wave; it orders the phases of a position")
def phases_by_trigger_time(folder):
    stack, a, b = two("phases_by_trigger_time")
    for k, (early, late) in enumerate(zip(a, b)):
        early.TriggerTime, late.TriggerTime = 12.0 + k, 412.5 + k
    save(folder, interleave(b, a))
    return points(stack, 6, 2)


@case("two phases by AcquisitionTime; InstanceNumber counts down",
      "PS3.3 C.7.6.1: Acquisition Time starts the acquisition of an image")
def phases_by_acquisition_time(folder):
    stack, a, b = two("phases_by_acquisition_time", modality="CT")
    set_all(a, AcquisitionTime="101500.25", ContentTime="101600")
    set_all(b, AcquisitionTime="101507.5", ContentTime="101600")
    for number, ds in enumerate(a + b):
        ds.InstanceNumber = 100 - number
    save(folder, b + a)
    return points(stack, 6, 2)


@case("a functional series by TemporalPositionIdentifier",
      "PS3.3 C.8.3.1: Temporal Position Identifier is the order in time")
def temporal_positions(folder):
    stack = Stack(count=5)
    found = []
    for t in range(3):
        found += slices("temporal_positions", "MR", stack, first=5 * t,
                        TemporalPositionIdentifier=t + 1, NumberOfTemporalPositions=3)
    save(folder, [found[n] for n in np.random.default_rng(1).permutation(15)])
    return points(stack, 5, 3)


@case("perfusion: AcquisitionNumber alone orders the time points",
      "PS3.3 C.7.6.1: Acquisition Number counts periods of gathering data")
def perfusion_by_acquisition_number(folder):
    stack = Stack(count=6)
    found = []
    for t in range(3):
        found += slices("perfusion_by_acquisition_number", "CT", stack, first=6 * t,
                        AcquisitionNumber=t + 1)
    for number, ds in enumerate(found):
        # By slice, then by time: the file names and numbers of many workstations.
        ds.InstanceNumber = number % 6 * 3 + number // 6 + 1
    save(folder, sorted(found, key=lambda ds: ds.InstanceNumber))
    return points(stack, 6, 3)


@case("perfusion: ContentTime alone orders the time points",
      "PS3.3 C.7.6.1: Content Time starts the creation of the pixels")
def perfusion_by_content_time(folder):
    stack = Stack(count=6)
    found = []
    for t in range(3):
        for ds in slices("perfusion_by_content_time", "MR", stack, first=6 * t):
            ds.ContentTime = f"1015{10 + 2 * t}.125"
            found.append(ds)
    for ds in found:
        del ds.AcquisitionTime, ds.AcquisitionNumber
    save(folder, found[::-1])
    return points(stack, 6, 3)


@case("the last time point lacks two of six slices", "nothing may be filled, dropped or mixed")
def incomplete_last_time_point(folder):
    stack = Stack(count=6)
    found = []
    for t in range(3):
        found += slices("incomplete_last_time_point", "MR", stack, first=6 * t,
                        TemporalPositionIdentifier=t + 1, AcquisitionNumber=t + 1)
    save(folder, found[:-2])
    more = {"status": "warn", "codes": frozenset({"incomplete_time_point", "split_from"})}
    partial = stack.expected(ramps(12, 4), "<i2", suffixes=frozenset({"_a2"}), **more)
    return [points(stack, 6, 2, **more), partial]


@case("diffusion: b = 0 and b = 1000 s/mm2 at the same positions",
      "PS3.3 C.8.13.5.9: Diffusion b-value")
def diffusion_two_b_values(folder):
    stack, a, b = two("diffusion_two_b_values")
    set_all(a, DiffusionBValue=0.0)
    set_all(b, DiffusionBValue=1000.0)
    # Nothing of time tells them apart.
    save(folder, interleave(b, a))
    return points(stack, 6, 2)


@case("diffusion: b = 0 and three directions of b = 1000, told apart by AcquisitionNumber",
      "PS3.3 C.8.13.5.9: Diffusion b-value; the directions share one")
def diffusion_directions(folder):
    stack, found = Stack(count=5), []
    directions = [None, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    for t, direction in enumerate(directions):
        volume = slices("diffusion_directions", "MR", stack, first=5 * t, AcquisitionNumber=t + 1)
        for ds in volume:
            ds.DiffusionBValue = 1000.0 if direction else 0.0
            ds.DiffusionDirectionality = "DIRECTIONAL" if direction else "NONE"
            if direction:
                ds.DiffusionGradientOrientation = list(direction)
        found += volume
    save(folder, found)
    return points(stack, 5, 4)
