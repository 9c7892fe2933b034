"""SimpleITK: volume.nii, volume.nhdr and volume.mhd."""

import numpy as np
import SimpleITK as sitk

from judge import Reader, Refusal, Seen, judge
from read_nibabel import cannot_say as nifti_cannot_say


def read(volume, path):
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    size = image.GetDimension()
    directions = np.reshape(image.GetDirection(), (size, size))[:3, :3]
    affine[:3, :3] = directions @ np.diag(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    values = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1 and not volume.is_colour:
        values = np.moveaxis(values, -1, 0)  # a list of volumes is a vector a voxel to ITK
    if values.ndim < len(volume.shape) and volume.shape[0] == 1:
        values = values[np.newaxis]  # ITK drops a fourth dimension of length 1
    return Seen(values, affine)


NIFTI_REFUSALS = (
    Refusal(
        "ITK reads no sheared sform",
        lambda volume: volume.is_sheared,
        "only supports orthonormal direction cosines",
    ),
    Refusal(
        "ITK reads no NIfTI-2",
        lambda volume: max(volume.shape) > 32767,
        "Unable to determine ImageIO reader",
    ),
)

READERS = [
    Reader(
        "SimpleITK volume.nii",
        "volume.nii",
        read,
        nifti_cannot_say,
        NIFTI_REFUSALS,
        overlooks="ITK's NIfTI shows zeros where a read fails",
    ),
    Reader("SimpleITK volume.nhdr", "volume.nhdr", read),
    Reader("SimpleITK volume.mhd", "volume.mhd", read),
]


def run(mount, volumes):
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return [judge(reader, volumes) for reader in READERS]
