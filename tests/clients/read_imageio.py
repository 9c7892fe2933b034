"""imageio: preview.png."""

import imageio.v3 as imageio
import numpy as np

from judge import Tally


def run(mount, volumes):
    tally = Tally("imageio preview.png")
    for volume in volumes:
        path = volume.dir / "preview.png"
        if not path.exists():
            tally.counts["without a preview"] += 1
        else:
            look(volume, path, tally)
    return [tally]


def look(volume, path, tally):
    try:
        image = imageio.imread(path)
    except Exception as error:  # whatever a reader raises is its answer, judged here
        if volume.is_damaged:
            tally.counts["damaged (refused)"] += 1
        else:
            tally.fail(volume.name, f"refused: {error!r}")
        return
    if volume.truth is not None and np.ptp(image) == 0 and has_contrast(volume):
        tally.fail(volume.name, "a preview of one colour")
    else:
        tally.counts["decoded"] += 1


def has_contrast(volume):
    """Whether the middle slice, or frame, has more than one value but for its extremes."""
    plane = volume.truth.reshape(-1, *volume.shape[-3 - volume.is_colour :])[0]
    plane = plane[len(plane) // 2]
    return np.ptp(np.nanpercentile(plane, [2, 98], method="nearest")) > 0
