"""A frame that cannot be decoded costs that frame only: frames/*.npy and the chunks of volume.zarr."""

import numpy as np
import tensorstore
import zarr

from judge import Tally, number_difference


def sound_frames(volume):
    """The frames in volume order; None where one cannot be decoded."""
    frames = []
    for path in sorted((volume.dir / "frames").iterdir()):
        try:
            frames.append(np.load(path))
        except (OSError, ValueError):
            frames.append(None)
    return frames


def by_zarr(volume):
    array = zarr.open_array(volume.dir / "volume.zarr" / "0", mode="r")
    return lambda place: array[place]


def by_tensorstore(volume):
    kvstore = {"driver": "file", "path": f"{volume.dir}/volume.zarr/0/"}
    array = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()
    return lambda place: array[place].read().result()


def run(mount, volumes):
    tallies = []
    for name, opener in (("zarr", by_zarr), ("tensorstore", by_tensorstore)):
        tally = Tally(f"{name} volume.zarr of damaged volumes, by frame")
        for volume in volumes:
            if volume.is_damaged:
                compare(volume, opener(volume), sound_frames(volume), tally)
        tallies.append(tally)
    return tallies


def compare(volume, chunk, frames, tally):
    """Frames that can be read are equal, and the others fail here too: a fill value would be a lie."""
    leading = volume.shape[: -2 - volume.is_colour]
    if all(frame is not None for frame in frames):
        tally.fail(volume.name, "each frame can be read, but not the volume")
    for n, frame in enumerate(frames):
        try:
            got = chunk(np.unravel_index(n, leading))
        except Exception as error:  # whatever a reader raises is its answer, judged here
            if frame is None:
                tally.counts["frames refused"] += 1
            else:
                tally.fail(volume.name, f"frame {n}: refused: {error!r}")
            continue
        wrong = "shown, though it cannot be decoded" if frame is None else number_difference(got, frame)
        if wrong:
            tally.fail(volume.name, f"frame {n}: {wrong}")
        else:
            tally.counts["frames equal"] += 1
