"""Whether dicomfs is right: the very array, place, verdict and name that is promised."""

import itertools

import numpy as np


def shown(array):
    """A few words on an array that is not as expected."""
    return f"{array.dtype} {array.shape} [{array.min()} .. {array.max()}]"


def values(expected, array):
    wanted = expected.array.astype(expected.dtype)
    if array.shape != wanted.shape:
        return []
    if expected.tolerance:
        off = np.abs(array.astype(np.float64) - expected.array).max()
        return [f"values off by {off}"] if off > expected.tolerance else []
    if np.array_equal(array, wanted):
        return []
    flips = {f"axis {a} reversed": np.flip(array, a) for a in range(array.ndim)}
    for how, turned in flips.items():
        if np.array_equal(turned, wanted):
            return [f"values: {how}"]
    wrong = int((array != wanted).sum())
    return [f"values: {wrong} of {wanted.size} differ, {shown(array)} for {shown(wanted)}"]


def geometry(expected, about):
    problems = []
    affine = about["affine_lps"]
    if not expected.is_placed and affine is not None:
        problems.append("an affine where the headers give none")
    if expected.positions is None and expected.affine is not None:
        if affine is None:
            problems.append("no affine")
        else:
            off = np.abs(np.array(affine) - expected.affine)
            if off[:3, 3].max() > expected.place_tolerance_mm or off[:3, :3].max() > 2e-3:
                problems.append(f"affine off by up to {off.max():.4g} mm")
    return problems + positions(expected, about)


def positions(expected, about):
    """Positions frame by frame; a frame that is not stored has none."""
    wanted = expected.slice_positions()
    frames = about["frames"]
    parts = expected.parts()
    count = parts.shape[0] * parts.shape[1]
    if len(frames) != count:
        return [f"{len(frames)} frames for {count}"]
    if wanted is None:
        return []
    off, absent = 0.0, 0
    flat = parts.reshape((count,) + parts.shape[2:])
    for index, frame in enumerate(frames):
        position = frame["position_lps_mm"]
        if position is None:
            absent += int(flat[index].any())
            continue
        z = index % parts.shape[1]
        off = max(off, np.abs(np.array(position) - wanted[z]).max())
    problems = [f"{absent} frames have no position"] if absent else []
    if off > expected.place_tolerance_mm:
        problems.append(f"positions off by up to {off:.4g} mm")
    return problems


def verdict(expected, about):
    problems = []
    if about["status"] != expected.status:
        problems.append(f"status {about['status']} for {expected.status}")
    codes = {finding["code"] for finding in about["findings"]}
    if expected.codes - codes:
        problems.append(f"no finding {', '.join(sorted(expected.codes - codes))}")
    return problems


def dialects(volume):
    """Every file called volume.* holds the same numbers."""
    if volume.nifti is None or volume.array is None:
        return []
    array, affine = volume.nifti
    if not np.array_equal(np.squeeze(array), np.squeeze(volume.array)):
        return ["volume.nii holds other numbers than volume.npy"]
    ras = volume.json["affine_ras"]
    if ras is not None and np.abs(affine - np.array(ras)).max() > 1e-3:
        return ["volume.nii has another affine than volume.json"]
    return []


def check(expected, volume):
    """What is wrong with a volume that should be this one."""
    if volume.array is None:
        return [f"cannot be read: {volume.error}"]
    problems = []
    about = volume.json
    if about["axes"] != expected.axes:
        problems.append(f"axes {about['axes']} for {expected.axes}")
    if volume.array.shape != expected.array.shape:
        problems.append(f"shape {volume.array.shape} for {expected.array.shape}")
    if volume.array.dtype.str != expected.dtype:
        problems.append(f"dtype {volume.array.dtype.str} for {expected.dtype}")
    problems += values(expected, volume.array) + geometry(expected, about)
    problems += verdict(expected, about) + dialects(volume)
    if volume.suffix not in expected.suffixes:
        problems.append(f"suffix '{volume.suffix}' for {sorted(expected.suffixes)}")
    return problems


def problems(truth, volumes, codes):
    """All that is wrong; empty when the mount is right."""
    found = []
    if truth.codes - codes:
        found.append(f"no finding of a file: {', '.join(sorted(truth.codes - codes))}")
    if len(volumes) != len(truth.volumes):
        names = ", ".join(f"'{v.suffix}' {v.json['axes']} {v.json['shape']}" for v in volumes)
        found.append(f"{len(volumes)} volumes for {len(truth.volumes)}: {names}")
    wanted = truth.volumes[: len(volumes)]
    costs = [[check(expected, volume) for volume in volumes] for expected in wanted]
    # The pairing with the least wrong: at most a handful of volumes a case, and many only where
    # everything is wrong anyhow.
    if len(volumes) <= 6:
        pairings = itertools.permutations(range(len(volumes)), len(wanted))
    else:
        pairings = [tuple(range(len(wanted)))]
    best = min(pairings, key=lambda chosen: sum(len(costs[e][v]) for e, v in enumerate(chosen)))
    for index, chosen in enumerate(best):
        found += [f"volume {index + 1}: {problem}" for problem in costs[index][chosen]]
    return found
