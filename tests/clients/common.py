"""What the client scripts share: the volumes of a mount, what is true of them, and world coordinates.

Truth for numbers is `volume.npy` read by plain NumPy, truth for world coordinates `affine_lps` of
`volume.json`.
"""

import csv
import errno
import io
import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

# What reading a frame that cannot be decoded gives: malformed, no decoder, over a limit.
DAMAGED = {errno.EIO, errno.EOPNOTSUPP, errno.EFBIG}

# Millimetres by which world coordinates may differ, and the relative rounding of a header of float32.
WORLD_MM = 1e-3
FLOAT32 = 2.0**-22


@dataclass
class Volume:
    """One directory of `series/`."""

    dir: Path

    @cached_property
    def meta(self) -> dict:
        return json.loads((self.dir / "volume.json").read_text())

    @property
    def name(self) -> str:
        return self.dir.name

    @property
    def axes(self) -> str:
        """One letter an axis, slowest first: `zyx`, `tzyx`, `zyxc`, `fyx`, ..."""
        return self.meta["axes"]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.meta["shape"])

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.meta["dtype"])

    @property
    def is_colour(self) -> bool:
        return self.axes.endswith("c")

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        """Columns, rows, and slices (or frames, where there is no z)."""
        z, y, x = self.shape[: len(self.shape) - self.is_colour][-3:]
        return x, y, z

    @property
    def affine_lps(self) -> np.ndarray | None:
        """(x, y, z) to millimetres, or None: nothing is known but spacing, perhaps."""
        affine = self.meta["affine_lps"]
        return None if affine is None else np.array(affine)

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Along z, y, x. Without world coordinates there may be a Pixel Spacing; 1 is unknown."""
        unplaced = (1, *self.meta["dicom"].get("PixelSpacing", (1, 1)))
        return tuple(self.meta["spacing_mm"] or unplaced)

    @property
    def is_sheared(self) -> bool:
        """The axes are not at right angles (a tilted gantry)."""
        if self.affine_lps is None:
            return False
        unit = self.affine_lps[:3, :3] / np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return not np.allclose(unit.T @ unit, np.eye(3), atol=1e-4)

    @cached_property
    def has_array(self) -> bool:
        """False for video: there are the original files and no more."""
        return (self.dir / "volume.npy").exists()

    @cached_property
    def truth(self) -> np.ndarray | None:
        """The numbers; None where a frame of the archive cannot be decoded, and of video."""
        if not self.has_array:
            return None
        try:
            # np.load of a path says "not fully written" where this has the system's error.
            return np.load(io.BytesIO((self.dir / "volume.npy").read_bytes()))
        except OSError as error:
            if error.errno not in DAMAGED:
                raise
            return None

    @property
    def is_damaged(self) -> bool:
        """Cannot be read whole. Mapped into memory, its failing pages would kill the process."""
        return self.has_array and self.truth is None


def index(mount: Path) -> list[dict[str, str]]:
    """The rows of index.csv."""
    with open(mount / "index.csv", newline="") as file:
        return list(csv.DictReader(file))


def all_volumes(mount: Path) -> list[Volume]:
    return [Volume(mount / row["path"]) for row in index(mount)]


def corners(shape_xyz: tuple[int, int, int]) -> np.ndarray:
    """Homogeneous indices of the corner voxels as columns; a thin axis counts as two voxels."""
    ends = [(0, max(n - 1, 1)) for n in shape_xyz]
    return np.array([(*corner, 1) for corner in itertools.product(*ends)], float).T


def world_error(got: np.ndarray, want: np.ndarray, shape_xyz) -> tuple[float, float]:
    """The largest distance between corner voxels in mm, and the largest coordinate in mm."""
    a, b = (affine @ corners(shape_xyz) for affine in (got, want))
    return float(np.linalg.norm((a - b)[:3], axis=0).max()), float(np.abs(b[:3]).max())


def lps(affine_ras: np.ndarray) -> np.ndarray:
    """NIfTI counts to the right and to the front, DICOM to the left and to the back."""
    return np.diag([-1.0, -1, 1, 1]) @ affine_ras
