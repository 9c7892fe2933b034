"""What a case must come to: arrays, where they lie, and what the verdict says. Knows no DICOM."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Expected:
    """One volume, in the order that is promised.

    `array` is over `axes`, float64. `affine` maps (x, y, z) to LPS mm and is None where the headers
    do not say where the frames lie. `positions`, LPS mm by z, are given where no affine can be right
    (gaps, uneven spacing): then dicomfs must report them frame by frame, and no affine is asked of it.
    """

    array: np.ndarray
    axes: str
    affine: np.ndarray | None
    dtype: str
    status: str = "ok"
    codes: frozenset = frozenset()
    suffixes: frozenset = frozenset({""})
    positions: np.ndarray | None = None
    tolerance: float = 0.0
    place_tolerance_mm: float = 1e-3

    @property
    def is_placed(self):
        return self.affine is not None or self.positions is not None

    def slice_positions(self):
        """Centre of the first voxel of each slice, LPS mm; None without geometry."""
        if self.positions is not None:
            return self.positions
        if self.affine is None:
            return None
        count = self.array.shape[self.axes.index("z")]
        return self.affine[:3, 3] + np.arange(count)[:, None] * self.affine[:3, 2]

    def parts(self):
        """The 3-D parts (z, y, x[, c]) in order of the axes before z; one part without any."""
        first = self.axes.index("y") - 1
        shape = self.array.shape
        return self.array.reshape((-1,) + shape[first:])


@dataclass
class Truth:
    """What a case's directory holds."""

    volumes: list
    # Codes that findings.jsonl must have: what is in no volume.
    codes: frozenset = frozenset()


@dataclass
class Case:
    """A directory to write and what must come of it."""

    name: str
    why: str
    clause: str
    write: Callable[[Path], Truth]


CASES: list[Case] = []


def case(why, clause):
    """Registers the function as a case of its own name."""

    def register(function):
        def write(folder):
            truth = function(folder)
            if isinstance(truth, Truth):
                return truth
            return Truth(truth if isinstance(truth, list) else [truth])

        CASES.append(Case(function.__name__, why, clause, write))
        return function

    return register
