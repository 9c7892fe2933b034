"""Checks the judges: what is right passes, and each way of being wrong is told from the others."""

import copy

import numpy as np

import exact
from compare import compare
from dataset import Stack, ramps, unplaced
from mounted import Mounted
from readers import Volume
from truth import Truth

STACK = Stack(count=6, orientation=(0, 1, 0, 0, 0, -1))
ONE = STACK.expected(ramps(0, 6), "<i2")
TWO = STACK.expected(ramps(6, 6), "<i2")
LONE = [unplaced(ramps(n, 1), "<i2", "zyx") for n in range(3)]
TIMES = STACK.expected(
    ramps(0, 12).reshape(2, 6, *ramps(0, 1).shape[1:]), "<i2", axes="tzyx"
)


def reversed_affine(affine, axis, length):
    """The affine of the array with this axis (of x, y, z) reversed."""
    turn = np.eye(4)
    turn[axis, axis], turn[axis, 3] = -1, length - 1
    return affine @ turn


def volume(array, affine, channels=False):
    return Volume(np.asarray(array, float), affine, channels)


def readers_verdicts():
    """(name, what is true, what a reader gave, the verdict that it must get)."""
    a, f = ONE.array, ONE.affine
    both, pair = Truth([ONE, TWO]), [volume(a, f), volume(TWO.array, TWO.affine)]
    turned = f[:, [2, 0, 1, 3]]
    moved = f.copy()
    moved[2, 3] += 1.0
    merged = np.stack([a, TWO.array], axis=1).reshape(12, *a.shape[1:])
    series = TIMES.array
    yield "the same", Truth([ONE]), [volume(a, f)], "right"
    yield "y reversed", Truth([ONE]), [volume(a[:, ::-1], reversed_affine(f, 1, 24))], "right"
    yield "axes turned", Truth([ONE]), [volume(a.transpose(1, 2, 0), turned)], "right"
    yield "both", both, pair[::-1], "right"
    yield "a file a time", Truth([TIMES]), [volume(t, f) for t in series], "right"
    yield "times in one", Truth([TIMES]), [volume(series, f)], "right"
    yield "times as channels", Truth([TIMES]), [volume(np.moveaxis(series, 0, -1), f, True)], "right"
    yield "captures", Truth(LONE), [volume(ramps(0, 3), f)], "right"
    yield "captures swapped", Truth(LONE), [volume(ramps(0, 3)[::-1], f)], "misplaced"
    yield "nothing", Truth([ONE]), [], "refused"
    yield "y reversed alone", Truth([ONE]), [volume(a[:, ::-1], f)], "misplaced"
    yield "moved", Truth([ONE]), [volume(a, moved)], "misplaced"
    yield "shuffled", Truth([ONE]), [volume(a[[0, 2, 1, 3, 4, 5]], f)], "misplaced"
    yield "times swapped", Truth([TIMES]), [volume(series[::-1], f)], "misplaced"
    yield "scaled", Truth([ONE]), [volume(a * 2, f)], "misscaled"
    yield "one slice scaled", Truth([ONE]), [volume(np.r_[a[:5], a[5:] + 7], f)], "misscaled"
    tiled = a.reshape(2, 3, 24, 32).transpose(0, 2, 1, 3).reshape(1, 48, 96)
    yield "tiles", Truth([ONE]), [volume(tiled, f)], "mixed"
    yield "merged", both, [volume(merged, f)], "mixed"
    yield "a slice twice", Truth([ONE]), [volume(a[[0, 1, 1, 2, 3, 4, 5]], f)], "mixed"
    yield "a slice short", Truth([ONE]), [volume(a[:5], f)], "lost"
    yield "a volume short", both, pair[:1], "lost"


def mounted(expected, **changes):
    """What a mount shows where this is true, but for the changes."""
    places = expected.slice_positions()
    about = {
        "axes": expected.axes,
        "affine_lps": expected.affine.tolist(),
        "affine_ras": (np.diag([-1, -1, 1, 1]) @ expected.affine).tolist(),
        "shape": list(expected.array.shape),
        "status": expected.status,
        "findings": [{"code": code} for code in expected.codes],
        "frames": [{"position_lps_mm": place.tolist()} for place in places],
    }
    about |= {key: value for key, value in changes.items() if key in about}
    array = changes.get("array", expected.array.astype(expected.dtype))
    nifti = changes.get("nifti", (array, np.array(about["affine_ras"])))
    return Mounted("1.2" + changes.get("suffix", ""), array, about, "", nifti)


def mounts():
    """(name, what is true, what the mount showed, whether it is right)."""
    a, nothing = ONE.array.astype("<i2"), frozenset()
    warned = copy.copy(ONE)
    warned.status, warned.codes = "warn", frozenset({"gantry_tilt"})
    moved = ONE.affine.copy()
    moved[0, 3] += 0.01
    frames = [{"position_lps_mm": [0, 0, 0]}] * 6
    yield "the same", Truth([ONE]), [mounted(ONE)], True
    yield "a pair", Truth([ONE, TWO]), [mounted(TWO), mounted(ONE)], True
    yield "finding of a file", Truth([ONE], frozenset({"lossy"})), [mounted(ONE)], False
    yield "one too many", Truth([ONE]), [mounted(ONE), mounted(TWO)], False
    yield "one too few", Truth([ONE, TWO]), [mounted(ONE)], False
    yield "none", Truth([ONE]), [], False
    for name, changes in {
        "values": {"array": np.where(a == 5, 6, a)},
        "z reversed": {"array": a[::-1]},
        "dtype": {"array": a.astype("<i4")},
        "axes": {"axes": "fyx"},
        "affine": {"affine_lps": moved.tolist()},
        "no affine": {"affine_lps": None},
        "positions": {"frames": frames},
        "frames": {"frames": frames[:5]},
        "status": {"status": "bad"},
        "suffix": {"suffix": "_o2"},
        "nifti": {"nifti": (a + 1, np.diag([-1, -1, 1, 1]) @ ONE.affine)},
    }.items():
        yield name, Truth([ONE]), [mounted(ONE, **changes)], False
    findings = mounted(warned, findings=[])
    yield "no finding", Truth([warned], nothing), [findings], False


def main():
    count = 0
    for name, truth, given, kind in readers_verdicts():
        got = compare(truth, given, "")
        assert got.kind == kind, f"{name}: {got} for {kind}"
        count += 1
    for name, truth, given, is_right in mounts():
        found = exact.problems(truth, given, set())
        assert (not found) == is_right, f"{name}: {found}"
        count += 1
    print(f"{count} verdicts as they should be")


if __name__ == "__main__":
    main()
