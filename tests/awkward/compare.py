"""What a reader made of a case: right, or wrong in which way.

A reader may hold a volume along any axes and in any direction, in one 4-D array or in several: what
counts is that each value is at its place in the patient, each 3-D part is whole and in no mixture,
and times come in order. Where the headers give no place, values and their order count alone.
"""

import itertools
from dataclasses import dataclass

import numpy as np

# A reader's arithmetic and file formats are of 32 bits.
VALUE_TOLERANCE = 1e-4
PLACE_TOLERANCE_MM = 0.05


@dataclass
class Verdict:
    kind: str
    detail: str = ""

    @property
    def is_right(self):
        return self.kind == "right"


@dataclass
class Part:
    """A 3-D part of an expected volume."""

    volume: int
    index: int
    array: np.ndarray
    expected: object
    # z of the first slice.
    first: int = 0

    @property
    def is_trimmed(self):
        return len(self.array) < self.expected.parts().shape[1]

    def whole(self):
        return Part(self.volume, self.index, self.expected.parts()[self.index], self.expected)

    def corners(self):
        """LPS mm of the first and last voxels of each slice's first and last row; None without place."""
        origins = self.expected.slice_positions()
        if origins is None:
            return None
        origins = origins[self.first :]
        nz, ny, nx = self.array.shape[:3]
        affine = self.expected.affine
        picks = [(z, y, x) for z in range(nz) for y in (0, ny - 1) for x in (0, nx - 1)]
        return np.array([origins[z] + y * affine[:3, 1] + x * affine[:3, 0] for z, y, x in picks])


def equal(a, b, tolerance):
    if a.shape != b.shape:
        return False
    limit = max(VALUE_TOLERANCE * max(np.abs(b).max(), 1e-12), tolerance)
    return bool((np.abs(a - b) <= limit).all())


def views(block, in_order):
    """The block with its axes in every order and direction, the slices' own alone where their
    order must be kept: (axes, flips, view)."""
    for axes in itertools.permutations(range(3)):
        rest = tuple(range(3, block.ndim))
        turned = block.transpose(axes + rest)
        for flips in itertools.product((1, -1), repeat=3):
            if in_order and flips[0] < 0:
                continue
            yield axes, flips, turned[tuple(slice(None, None, f) for f in flips)]


def misplacement(part, block, affine, axes, flips):
    """Largest distance in mm of a voxel from its place, if the block's view is the part."""
    wanted = part.corners()
    if wanted is None:
        return 0.0
    if affine is None:
        return np.inf
    nz, ny, nx = part.array.shape[:3]
    found = []
    for z, y, x in ((z, y, x) for z in range(nz) for y in (0, ny - 1) for x in (0, nx - 1)):
        place = [0, 0, 0]
        for axis, flip, index, length in zip(axes, flips, (z, y, x), (nz, ny, nx)):
            place[axis] = index if flip > 0 else length - 1 - index
        k, j, i = place
        found.append(affine[:3] @ [i, j, k, 1.0])
    return float(np.linalg.norm(np.array(found) - wanted, axis=1).max())


def match(block, affine, part):
    """Misplacement in mm of the best view that has the part's values; None if there is none."""
    best = None
    unplaced = not part.expected.is_placed
    for axes, flips, view in views(block, unplaced):
        if equal(view, part.array, part.expected.tolerance):
            off = misplacement(part, block, affine, axes, flips)
            best = off if best is None else min(best, off)
    return best


def dihedral(plane):
    for turned in (plane, plane.swapaxes(0, 1)):
        for a, b in itertools.product((1, -1), repeat=2):
            yield turned[::a, ::b]


def key(plane, normalised):
    """What a slice is recognised by, with or without its scale."""
    plane = np.asarray(plane, np.float64)
    if normalised:
        span = plane.max() - plane.min()
        plane = np.rint((plane - plane.min()) / (span or 1.0) * 4000).astype("<i4")
    else:
        plane = np.rint(plane * 64).astype("<i8")
    return plane.shape, plane.tobytes()


def recognise(block, parts, normalised):
    """For the axis along which most slices are known: [(part, slice) or None, ...]."""
    known = {}
    for number, part in enumerate(parts):
        for z, plane in enumerate(part.array):
            for turned in dihedral(plane):
                known.setdefault(key(turned, normalised), (number, z))
    best = []
    for axis in range(3):
        found = [known.get(key(plane, normalised)) for plane in np.moveaxis(block, axis, 0)]
        if sum(f is not None for f in found) > sum(f is not None for f in best):
            best = found
    return best


def diagnose(block, parts):
    """Why a block is none of the parts."""
    sizes = {part.array.shape[1:] for part in parts}
    planes = {np.moveaxis(block, axis, 0).shape[1:] for axis in range(3)}
    if not sizes & (planes | {(x, y, *c) for y, x, *c in planes}):
        return Verdict("mixed", f"planes of {shown({block.shape[1:]})}, slices are {shown(sizes)}")
    found = recognise(block, parts, False)
    if not any(found):
        if sum(f is not None for f in recognise(block, parts, True)) > len(block) // 2:
            return Verdict("misscaled", "the slices are there, their values are scaled wrongly")
        return Verdict("misscaled", "other values than any slice has")
    used = [f for f in found if f is not None]
    sources = {number for number, _ in used}
    strange = len(found) - len(used)
    if strange:
        return Verdict("misscaled", f"{strange} of {len(found)} slices have other values")
    if len(sources) > 1:
        return Verdict("mixed", f"slices of {len(sources)} volumes or times in one stack")
    if len(set(used)) < len(used):
        return Verdict("mixed", "slices occur more than once in one stack")
    whole = len(parts[used[0][0]].array)
    if len(used) < whole:
        return Verdict("lost", f"{len(used)} of {whole} slices")
    return Verdict("misplaced", "slices in another order")


def shown(shapes):
    return " or ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))


def parts_of(truth):
    for number, expected in enumerate(truth.volumes):
        for index, array in enumerate(expected.parts()):
            first = 0
            if "s" in expected.axes:
                # Empty slices around a segment need not be there.
                held = np.flatnonzero(array.any(axis=(1, 2)))
                first, array = held[0], array[held[0] : held[-1] + 1]
            yield Part(number, index, array, expected, first)


def blocks_of(volume, has_colour):
    """3-D blocks of an array over (..., k, j, i) or, with channels, (..., k, j, i, c)."""
    array = np.asarray(volume.array, np.float64)
    inner = 3
    if volume.has_channels and has_colour:
        inner = 4
    elif volume.has_channels:
        # What a reader calls channels are times, segments or parts of the signal.
        array = np.moveaxis(array, -1, 0)
    while array.ndim < inner:
        array = array[None]
    return array.reshape((-1,) + array.shape[-inner:])


def compare(truth, volumes, error):
    """The verdict on what a reader returned; `error` says why it returned nothing more."""
    if not volumes:
        return Verdict("refused", error or "no image")
    parts = list(parts_of(truth))
    seen, faults = set(), []
    has_colour = any("c" in expected.axes for expected in truth.volumes)
    lone = all(len(part.array) == 1 and not part.expected.is_placed for part in parts)
    for volume in volumes:
        order = []
        blocks = blocks_of(volume, has_colour)
        # Single images without a place may as well be in one array.
        for block in (plane[None] for b in blocks for plane in b) if lone else blocks:
            fault, taken = place(block, volume.affine, parts, seen)
            if fault:
                faults.append(fault)
            if taken is not None:
                order.append((parts[taken].volume, parts[taken].index))
        if lone and order != sorted(order):
            faults.append(Verdict("misplaced", "images in another order"))
        for _, times in itertools.groupby(sorted(order), key=lambda pair: pair[0]):
            times = list(times)
            if [pair for pair in order if pair in times] != times:
                faults.append(Verdict("misplaced", "times in another order"))
    unseen = [p for n, p in enumerate(parts) if n not in seen]
    if not unseen and not faults:
        return Verdict("right")
    if unseen and not faults:
        reason = f" ({error})" if error else ""
        return Verdict("lost", f"{len(unseen)} of {len(parts)} volumes or times{reason}")
    rank = ["misscaled", "mixed", "misplaced", "lost"]
    return min(faults, key=lambda fault: rank.index(fault.kind))


def place(block, affine, parts, seen):
    """Finds the part that a block is: what is wrong with it, and the number of the part."""
    nearest = None
    for number, part in enumerate(parts):
        if number in seen:
            continue
        off = match(block, affine, part)
        if off is None and part.is_trimmed:
            off = match(block, affine, part.whole())
        if off is not None and (nearest is None or off < nearest[0]):
            nearest = (off, number)
    if nearest is None:
        return diagnose(block, parts), None
    off, number = nearest
    seen.add(number)
    if off > max(PLACE_TOLERANCE_MM, parts[number].expected.place_tolerance_mm * 2):
        return Verdict("misplaced", f"values right, voxels up to {off:.3g} mm off"), number
    return None, number
