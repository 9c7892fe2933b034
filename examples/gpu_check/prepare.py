#!/usr/bin/env python3
"""Writes the pictures that gpu_check measures with: CT slices and a mammogram, each in several
transfer syntaxes, as multi-frame DICOM files of made-up pixels. What is not encoded at all gpu_check makes
of them itself.

  pip install numpy pydicom imagecodecs
  prepare.py FOLDER

To be run where there are packages; the machine with the GPU needs only the folder. Every frame has
noise of its own, as pictures of real devices have, so that it takes as long to decode as theirs.
"""

import sys
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, HTJ2KLossless, JPEG2000Lossless, JPEGLossless, RLELossless

MULTI_FRAME_GRAYSCALE_WORD_SC = "1.2.840.10008.5.1.4.1.1.7.3"
UID_ROOT = "2.25.7300"
BITS_STORED = 12

# Name, frames, rows, columns, noise in stored units.
PICTURES = [("ct", 16, 512, 512, 6.0), ("mg", 1, 4774, 3064, 10.0)]


def picture(rows, columns, noise, random):
    """Ellipses of a few densities on air: smooth inside, noisy most where there is something."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    air = 60.0
    values = np.full((rows, columns), air)
    for _ in range(12):
        at_y, at_x, high, wide = random.uniform((-0.5, -0.5, 0.05, 0.05), (0.5, 0.5, 0.6, 0.6))
        inside = ((y - at_y) / high) ** 2 + ((x - at_x) / wide) ** 2
        values += random.uniform(50, 500) * np.clip(1 - inside, 0, 1) ** 0.25
    values += random.normal(0, 1, values.shape) * np.where(values > air, noise, noise / 4)
    return np.clip(np.rint(values), 0, 2**BITS_STORED - 1).astype("<u2")


def jpeg2000(frame):
    return imagecodecs.jpeg2k_encode(frame, level=0, reversible=True, codecformat="j2k", bitspersample=BITS_STORED)


def htj2k(frame):
    # The encoder takes no precision: all 16 bits are coded, the upper ones zero.
    return imagecodecs.htj2k_encode(frame, reversible=True)


def jpeg_lossless(frame):
    return imagecodecs.ljpeg_encode(frame, bitspersample=BITS_STORED)


def described(name, frames, number):
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.SOPClassUID = MULTI_FRAME_GRAYSCALE_WORD_SC
    instance.StudyInstanceUID = UID_ROOT
    instance.SeriesInstanceUID = f"{UID_ROOT}.{number}"
    instance.SOPInstanceUID = f"{UID_ROOT}.{number}.1"
    instance.Modality = name.upper()
    instance.NumberOfFrames, instance.Rows, instance.Columns = frames.shape
    instance.SamplesPerPixel, instance.PhotometricInterpretation = 1, "MONOCHROME2"
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, BITS_STORED, BITS_STORED - 1
    instance.PixelRepresentation = 0
    instance.PixelData = frames.tobytes()
    instance["PixelData"].VR = "OW"
    return instance


def save(instance, path):
    instance.save_as(path, enforce_file_format=True)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    number = 0
    for name, count, rows, columns, noise in PICTURES:
        frames = np.stack([picture(rows, columns, noise, random) for _ in range(count)])
        for syntax, uid, encode in [
            ("j2k", JPEG2000Lossless, jpeg2000),
            ("htj2k", HTJ2KLossless, htj2k),
            ("ljpeg", JPEGLossless, jpeg_lossless),
            ("rle", RLELossless, None),
        ]:
            number += 1
            instance = described(name, frames, number)
            if encode:
                instance.PixelData = encapsulate([encode(frame) for frame in frames])
                instance.file_meta.TransferSyntaxUID = uid
            else:
                instance.compress(uid, generate_instance_uid=False)
            save(instance, folder / f"{name}-{syntax}.dcm")


if __name__ == "__main__":
    main()
