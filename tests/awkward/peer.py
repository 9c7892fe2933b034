"""Runs one foreign reader in a process of its own: a directory a line in, arrays in a file out.

`python peer.py READER` reads lines of JSON with `dir` and `out` and answers each with one line:
`count` volumes in `out`, and `error` where something was refused. What libraries print goes to
standard error.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def spatial(affine, rank):
    """A 4 x 4 affine from one of `rank` spatial axes; more than three keep the first three."""
    out = np.eye(4)
    n = min(rank, 3)
    out[:n, :n] = affine[:n, :n]
    out[:n, 3] = affine[:n, -1]
    return out


def simpleitk(folder):
    """The series reader as SimpleITK's own examples use it, once for each series GDCM finds."""
    import SimpleITK as sitk

    reader, errors = sitk.ImageSeriesReader(), []
    series = reader.GetGDCMSeriesIDs(folder)
    if not series:
        raise ValueError("GDCM finds no series")
    volumes = []
    for identity in series:
        try:
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder, identity))
            image = reader.Execute()
        except RuntimeError as why:
            errors.append(str(why).strip().splitlines()[-1])
            continue
        rank = image.GetDimension()
        affine = np.eye(rank + 1)
        direction = np.array(image.GetDirection()).reshape(rank, rank)
        affine[:rank, :rank] = direction @ np.diag(image.GetSpacing())
        affine[:rank, rank] = image.GetOrigin()
        has_channels = image.GetNumberOfComponentsPerPixel() > 1
        volumes.append((sitk.GetArrayFromImage(image), spatial(affine, rank), has_channels))
    return volumes, "; ".join(errors)


def monai(folder, reader):
    """LoadImage on the directory, nothing else set; it tries its other readers after this one."""
    from monai.transforms import LoadImage

    image = LoadImage(reader=reader)(folder)
    affine = RAS @ np.asarray(image.affine, float)
    array = np.asarray(image)
    channel = image.meta.get("original_channel_dim", float("nan"))
    # "no channel" is a NaN or a word.
    has_channels = not isinstance(channel, str) and not np.isnan(channel)
    if has_channels:
        array = np.moveaxis(array, int(channel), -1)
    space = array.ndim - int(has_channels)
    axes = tuple(reversed(range(space))) + tuple(range(space, array.ndim))
    return [(array.transpose(axes), affine, has_channels)], ""


READERS = {
    "SimpleITK": simpleitk,
    "MONAI (ITK)": lambda folder: monai(folder, "ITKReader"),
    "MONAI (pydicom)": lambda folder: monai(folder, "PydicomReader"),
}


def answer(reader, request):
    """Runs the reader; any exception of a foreign library is an answer."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            volumes, error = READERS[reader](request["dir"])
    except Exception as why:  # whatever a reader raises is its answer
        text = str(why).strip().splitlines() or [""]
        return {"count": 0, "error": f"{type(why).__name__}: {text[-1]}", "warned": False}
    arrays = {}
    for n, (array, affine, has_channels) in enumerate(volumes):
        arrays |= {f"array{n}": array, f"affine{n}": affine, f"channels{n}": has_channels}
    np.savez(request["out"], **arrays)
    texts = (str(w.message) for w in said if w.category is UserWarning)
    warned = any("NvImgCodec" not in text for text in texts)
    return {"count": len(volumes), "error": error, "warned": warned}


def main():
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        assert Path(request["dir"]).is_dir()
        channel.write(json.dumps(answer(sys.argv[1], request)) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
