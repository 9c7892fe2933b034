"""Every reference NIfTI of the data set against volume.nii of a mount: `references.py MOUNT DATA`.

A reference lies beside the DICOM files it was converted from, somewhere in DATA/volumes/NAME. For each,
one volume of those files must hold the same voxels at the same world coordinates. Arrays may differ in
the order and direction of axes, as the two affines say; nothing is resampled. Prints a row a
reference; exit status 1 when one has no volume.

Numbers: integers without a scale must be equal. A reference with a scale has stored numbers: these,
with the rescale of volume.json, must give ours but for the rounding to float32 (one unit in the last
place), and the scale must say the same rescale but for its own rounding to float32.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from common import FLOAT32, WORLD_MM, all_volumes, corners

# dcm2niix ends the names of what it resampled so: no array of the archive equals them.
RESAMPLED = ("_Eq", "_Tilt")


@dataclass(frozen=True)
class Known:
    """Where a reference does not say what the DICOM files say. The rest is compared all the same."""

    why: str = ""
    world_mm: float = WORLD_MM
    # The reference's scale is not the Rescale Slope and Intercept.
    own_scale: bool = False
    # No world coordinates can be compared: how the volume's axes run along i, j, k instead.
    axes: tuple[str, str, str] | None = None


KNOWN = {
    "mr_t1_96_j2k_multifrag/anat-T1w_acq-tfl_6001": Known(
        "positions are rounded to 0.1 um and dcm2niix takes the step of one pair, 2.0001 mm, for all 95: "
        "it is 10 um off the last Image Position",
        world_mm=0.0102,
    ),
    "ct_ge_tilt_varspacing_10/_2_0": Known(
        "tilted gantry and uneven steps: dcm2niix has one step, along the wrong line, we claim no affine",
        axes=("x", "-y", "z"),
    ),
    "mr_philips_t1_24/Ph_501_T1W_FFE_Sno_CS4": Known(
        "scaled by Philips' private Scale Slope, which is not the Rescale Slope", own_scale=True
    ),
    "mr_philips_enhanced_fieldmap_64f/Philips_WIP_B0_NS_801_e1": Known(
        "scaled by Philips' private Scale Slope, which is not the Rescale Slope", own_scale=True
    ),
    "mr_philips_enhanced_fieldmap_64f/Philips_WIP_B0_NS_801_e2_fieldmaphz": Known(
        "its slope is 6e-6 off the Rescale Slope, 1000/4095", own_scale=True
    ),
}


class Mismatch(Exception):
    """Why a volume is not the one a reference was made from."""


@dataclass
class Match:
    axes: tuple[str, ...]
    world_mm: float | None
    equal: int
    total: int


def axes_by_affines(volume_affine, reference_affine):
    """Which axis of the volume runs along each axis of the reference, and which way."""
    steps = np.linalg.solve(volume_affine, reference_affine)[:3, :3]
    nearest = np.round(steps)
    is_permutation = np.array_equal(np.abs(nearest) @ np.abs(nearest).T, np.eye(3))
    if np.abs(steps - nearest).max() > 1e-3 or not is_permutation:
        raise Mismatch(f"axes do not correspond: steps {np.round(steps, 4).tolist()}")
    along = np.abs(nearest).argmax(axis=0)
    return tuple(("-" if nearest[axis, n] < 0 else "") + "xyz"[axis] for n, axis in enumerate(along))


def reordered(voxels, axes):
    """(x, y, z[, t]) as the reference has it, and the matrix from its indices to the volume's."""
    order = ["xyz".index(axis[-1]) for axis in axes]
    voxels = voxels.transpose(*order, *range(3, voxels.ndim))
    to_volume = np.zeros((4, 4))
    to_volume[3, 3] = 1
    for n, axis in enumerate(axes):
        backwards = axis.startswith("-")
        to_volume[order[n], n] = -1 if backwards else 1
        to_volume[order[n], 3] = voxels.shape[n] - 1 if backwards else 0
        voxels = np.flip(voxels, n) if backwards else voxels
    return voxels, to_volume


def world_distance(volume_affine, to_volume, reference):
    """The largest distance of a corner voxel's centre in mm, and what float32 rounds off there."""
    ends = corners(reference.shape[:3])
    want = reference.affine @ ends
    apart = volume_affine @ to_volume @ ends - want
    return np.linalg.norm(apart[:3], axis=0).max(), FLOAT32 * np.abs(want[:3]).max()


def equal_voxels(got, reference, volume, known):
    """How many voxels hold the number that the reference holds, one time point after the other."""
    stored, slope, intercept = np.asanyarray(reference.dataobj.get_unscaled()), 1.0, 0.0
    scale = reference.dataobj.slope, reference.dataobj.inter
    if scale != (1, 0):
        rescales = {(frame["slope"], frame["intercept"]) for frame in volume.meta["frames"]}
        if len(rescales) != 1:
            raise Mismatch(f"{len(rescales)} rescales in one volume")
        ((slope, intercept),) = rescales
        if not known.own_scale and not np.allclose(scale, (slope, intercept), rtol=FLOAT32, atol=0):
            raise Mismatch(f"the scale is {scale}, the rescale {(slope, intercept)}")
    points = zip(*(np.moveaxis(a.reshape(*a.shape[:3], -1), -1, 0) for a in (got, stored)), strict=True)
    equal = 0
    for ours, theirs in points:
        want = theirs.astype(np.float64) * slope + intercept
        slack = 0 if scale == (1, 0) else np.spacing(np.abs(want).astype(np.float32))
        equal += np.count_nonzero(np.abs(ours - want) <= slack)
    return equal


def compare(volume, reference, known):
    """Lays a volume over a reference."""
    if volume.is_damaged or not (volume.dir / "volume.nii").exists():
        raise Mismatch("has no volume.nii that can be read")
    image = nibabel.load(volume.dir / "volume.nii")
    claims = int(image.header["sform_code"]) > 0
    if not claims and known.axes is None:
        raise Mismatch("claims no world coordinates")
    axes = known.axes or axes_by_affines(image.affine, reference.affine)
    got, to_volume = reordered(np.asanyarray(image.dataobj), axes)
    if got.shape != reference.shape:
        raise Mismatch(f"shape {got.shape}, not {reference.shape}")
    world_mm = None
    if known.axes is None:
        world_mm, rounding_mm = world_distance(image.affine, to_volume, reference)
        if world_mm > max(known.world_mm, rounding_mm):
            raise Mismatch(f"world coordinates are {world_mm:.6f} mm apart")
    equal = equal_voxels(got, reference, volume, known)
    return Match(axes, world_mm, int(equal), got.size)


def best_match(reference, candidates, known):
    """The volume with most equal voxels, and what is wrong with the others."""
    matches, wrong = [], []
    for volume in candidates:
        try:
            matches.append((compare(volume, reference, known), volume))
        except Mismatch as mismatch:
            wrong.append(f"{volume.name} {list(volume.shape)}: {mismatch}")
    return max(matches, key=lambda pair: pair[0].equal, default=None), wrong


def comes_from(volume, prefix):
    """Whether all of a volume's files are of one directory; a blank frame has no file."""
    files = {frame["file"] for frame in volume.meta["frames"] if frame["file"]}
    return bool(files) and all(file.startswith(prefix) for file in files)


def lay_over(path, name, volumes):
    """Prints the row of a reference; returns what is wrong."""
    known = KNOWN.get(name, Known())
    prefix = f"volumes/{name.split('/')[0]}/"
    candidates = [volume for volume in volumes if comes_from(volume, prefix)]
    found, wrong = best_match(nibabel.load(path), candidates, known)
    if found is None:
        return f"{name}: {'; '.join(wrong) or 'no volume of its files'}"
    match, volume = found
    world = "not compared" if match.world_mm is None else f"{match.world_mm:.6f} mm"
    shape, axes = "x".join(map(str, volume.shape)), " ".join(match.axes)
    print(name, volume.name, shape, axes, world, f"{match.equal}/{match.total}", sep=" | ")
    if known.why:
        print("    known:", known.why)
    if match.equal != match.total:
        return f"{name}: {match.total - match.equal} voxels of {volume.name} differ"
    return None


def main(mount, data):
    volumes = all_volumes(mount)
    references, failures = sorted(data.glob("volumes/*/**/*.nii*")), []
    print("reference | volume | shape | axes along i, j, k | world error | equal voxels")
    for path in references:
        name = f"{path.relative_to(data).parts[1]}/{path.name.split('.nii')[0]}"
        if name.endswith(RESAMPLED):
            print(name, "| excepted: resampled by dcm2niix")
        elif wrong := lay_over(path, name, volumes):
            failures.append(wrong)
    print(f"{len(references)} references, {len(failures)} without their volume")
    print(*failures, sep="\n")
    return 1 if failures or not references else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]).resolve()))
