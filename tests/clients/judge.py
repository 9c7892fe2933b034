"""How a reader is judged: it shows what is true of a volume, or refuses for a reason that is known.

A reader that shows other numbers or other world coordinates fails. It may refuse (raise) where a frame
of the archive cannot be decoded, and else only where its table of refusals says why.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from common import DAMAGED, FLOAT32, WORLD_MM, Volume, world_error


@dataclass
class Seen:
    """What a reader shows, in the axes of volume.json."""

    values: np.ndarray
    # The world coordinates it shows; None: this reader has no notion of them.
    affine_lps: np.ndarray | None = None
    # Millimetres along z, y, x, from a reader that knows no more.
    spacing_mm: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Refusal:
    """A refusal that is the reader's own limit."""

    why: str
    when: Callable[[Volume], bool]
    message: str  # a regular expression for the exception's type and text


@dataclass(frozen=True)
class Reader:
    name: str
    file: str
    read: Callable[[Volume, Path], Seen]
    # Arrays that this format cannot say, where there is to be no file.
    cannot_say: Callable[[Volume], bool] = lambda volume: False
    refusals: tuple[Refusal, ...] = ()
    # Why it shows something where the system refused to read: no fault of the mount, but to be known.
    overlooks: str | None = None

    @property
    def data_file(self) -> str:
        """Where the numbers are: beside a detached header."""
        return "volume.npy" if self.file.endswith((".nhdr", ".mhd")) else self.file


@dataclass
class Tally:
    """What came of one reader over all volumes."""

    name: str
    counts: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def fail(self, volume: str, why: str) -> None:
        self.failures.append(f"{self.name}: {volume}: {why}")

    def line(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in self.counts.items())
        refused = "".join(f"; {count} refused: {why}" for why, count in self.refused.items())
        return f"{self.name}: {counts}{refused}; {len(self.failures)} wrong"


def judge(reader: Reader, volumes: list[Volume]) -> Tally:
    """Lets a reader open every volume, and compares what it shows."""
    tally = Tally(reader.name)
    for volume in volumes:
        path = volume.dir / reader.file
        absent = not volume.has_array or reader.cannot_say(volume)
        if path.exists() == absent:
            tally.fail(volume.name, f"{reader.file} {'exists' if absent else 'is missing'}")
        elif absent:
            tally.counts["not representable" if volume.has_array else "video"] += 1
        else:
            _open(reader, volume, path, tally)
    return tally


def _open(reader: Reader, volume: Volume, path: Path, tally: Tally) -> None:
    try:
        seen = reader.read(volume, path)
    except AssertionError as error:  # what it showed is not as it should be
        tally.fail(volume.name, str(error))
    except Exception as error:  # whatever a reader raises is its answer, judged here
        _refused(reader, volume, error, tally)
    else:
        tally.counts["opened"] += 1
        if volume.is_damaged:
            _read_on(reader, volume, tally)
        elif wrong := difference(seen, volume):
            tally.fail(volume.name, wrong)
        else:
            tally.counts["equal"] += 1


def _refused(reader: Reader, volume: Volume, error: Exception, tally: Tally) -> None:
    """A reader gave up: as it should where a frame is damaged, else by its table alone."""
    if volume.is_damaged:
        tally.counts["damaged (refused)"] += 1
        return
    text = f"{type(error).__name__}: {error}"
    for refusal in reader.refusals:
        if refusal.when(volume) and re.search(refusal.message, text, re.DOTALL):
            tally.refused[refusal.why] += 1
            return
    tally.fail(volume.name, f"refused: {text}")


def _read_on(reader: Reader, volume: Volume, tally: Tally) -> None:
    """A reader shows a damaged volume: its own fault if the mount did refuse to read."""
    if reader.overlooks and read_fails(volume.dir / reader.data_file):
        tally.counts[f"damaged (not noticed: {reader.overlooks})"] += 1
    else:
        tally.fail(volume.name, "shows numbers where a frame cannot be decoded")


def read_fails(path: Path) -> bool:
    """Whether the system refuses to read a file whole."""
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno in DAMAGED
    return False


def difference(seen: Seen, volume: Volume) -> str | None:
    """How what a reader shows differs from what is true."""
    wrong = number_difference(seen.values, volume.truth)
    if wrong is None and seen.affine_lps is not None:
        wrong = world_difference(seen.affine_lps, volume)
    if wrong is None and seen.spacing_mm is not None:
        wrong = spacing_difference(seen.spacing_mm, volume)
    return wrong


def number_difference(got: np.ndarray, want: np.ndarray) -> str | None:
    """Shape, type (byte order aside) and every bit, so that a NaN equals itself."""
    if got.shape != want.shape:
        return f"shape {got.shape}, not {want.shape}"
    if got.dtype.newbyteorder("=") != want.dtype.newbyteorder("="):
        return f"dtype {got.dtype}, not {want.dtype}"
    if np.ascontiguousarray(got, want.dtype).tobytes() != want.tobytes():
        return f"{np.count_nonzero(got != want)} of {want.size} numbers differ"
    return None


def world_difference(affine: np.ndarray, volume: Volume) -> str | None:
    """The voxel centres at the corners must be where volume.json says they are."""
    if volume.affine_lps is None:
        steps = affine[:3, :3]
        if np.count_nonzero(steps - np.diag(np.diag(steps))) or affine[:3, 3].any():
            return f"claims the world coordinates {affine.tolist()}, volume.json none"
        return spacing_difference(np.abs(np.diag(steps))[::-1], volume)
    error, scale = world_error(affine, volume.affine_lps, volume.shape_xyz)
    if error > max(WORLD_MM, FLOAT32 * scale):
        return f"world coordinates are {error:.6f} mm off: {affine.tolist()}"
    return None


def spacing_difference(spacing_mm, volume: Volume) -> str | None:
    """Unknown spacing is 1, as the formats have no word for it."""
    want = volume.spacing_mm[-len(spacing_mm) :]
    if not np.allclose(spacing_mm, want, rtol=1e-6, atol=0):
        return f"spacing {np.round(spacing_mm, 6).tolist()}, not {list(want)}"
    return None
