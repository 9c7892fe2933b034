"""nibabel: volume.nii, numbers, affine and header."""

import nibabel
import numpy as np

from common import lps
from judge import Reader, Seen, judge


def cannot_say(volume):
    """NIfTI has no 16-bit float, and of channels only RGB of bytes."""
    is_rgb24 = volume.dtype == np.uint8 and volume.meta["values"]["kind"] == "rgb"
    return volume.dtype == np.float16 or (volume.is_colour and not is_rgb24)


def in_volume_order(voxels):
    """(x, y, z[, t]) of numbers or (R, G, B) to [t,] z, y, x [, c]."""
    if voxels.dtype.fields:
        return np.ascontiguousarray(voxels.T)[..., np.newaxis].view(np.uint8)
    return voxels.T


def read(volume, path):
    image = nibabel.load(path, mmap=not volume.is_damaged)
    header = image.header
    assert header.get_slope_inter() in ((None, None), (1.0, 0.0)), "numbers are as they are"
    codes = int(header["qform_code"]), int(header["sform_code"])
    if volume.affine_lps is None:
        assert codes == (0, 0), f"qform and sform codes {codes} claim world coordinates"
        steps = np.diag([*header.get_zooms()[:3], 1.0])
        return Seen(in_volume_order(np.asanyarray(image.dataobj)), steps)
    assert codes[1] > 0, "the affine is in the sform"
    if codes[0]:
        assert np.allclose(image.get_qform(), image.get_sform(), atol=1e-3), "qform is not sform"
    return Seen(in_volume_order(np.asanyarray(image.dataobj)), lps(image.affine))


def run(mount, volumes):
    return [judge(Reader("nibabel volume.nii", "volume.nii", read, cannot_say), volumes)]
