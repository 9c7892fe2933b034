"""MONAI: LoadImage on volume.nii and volume.npy."""

import numpy as np
from monai.transforms import LoadImage

from common import lps
from judge import Reader, Refusal, Seen, judge
from read_nibabel import cannot_say as nifti_cannot_say


def numbers(volume, image):
    """MONAI widens unsigned integers that torch does little with: back to the type of the file."""
    values = image.numpy()
    narrow = values.astype(volume.dtype)
    assert values.dtype == volume.dtype or np.array_equal(values, narrow), "widened numbers fit their type"
    return narrow


def nifti(volume, path):
    # A failing page of a mapping is SIGBUS, so volumes that cannot be read whole are not mapped.
    load = LoadImage(reader="NibabelReader", dtype=None, image_only=True, mmap=not volume.is_damaged)
    image = load(path)
    affine = lps(image.affine.numpy())
    if volume.affine_lps is None:  # nibabel then centres the array and counts x to the left
        affine = np.diag(np.abs(np.diag(affine)))
    return Seen(numbers(volume, image).T, affine)


def npy(volume, path):
    load = LoadImage(reader="NumpyReader", dtype=None, image_only=True)
    return Seen(numbers(volume, load(path)))


NIFTI_REFUSALS = (
    Refusal("MONAI takes no RGB of NIfTI", lambda volume: volume.is_colour, "TypeError|RuntimeError"),
)

READERS = [
    Reader("MONAI volume.nii", "volume.nii", nifti, nifti_cannot_say, NIFTI_REFUSALS),
    Reader("MONAI volume.npy", "volume.npy", npy),
]


def run(mount, volumes):
    return [judge(reader, volumes) for reader in READERS]
