"""Small DICOM files from first principles: stacks of planes, identities, pixels. Knows no case."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from truth import Expected

ROWS, COLUMNS = 24, 32

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
PET = "1.2.840.10008.5.1.4.1.1.128"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CLASSES = {"CT": CT, "MR": MR, "PT": PET}


def uid(*parts):
    """A UID of its own for these words, the same in every run (PS3.5 B.2)."""
    digest = hashlib.md5("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


def ramp(ordinal, rows=ROWS, columns=COLUMNS):
    """A frame of which each voxel's value tells frame, row and column."""
    return ordinal * rows * columns + np.arange(rows * columns).reshape(rows, columns)


def ramps(first, count, rows=ROWS, columns=COLUMNS):
    """Consecutive frames."""
    return np.stack([ramp(first + k, rows, columns) for k in range(count)])


def bytes8(ordinal, rows=ROWS, columns=COLUMNS):
    """As `ramp` in eight bits: no two frames, flips or turns are equal."""
    y, x = np.mgrid[:rows, :columns]
    return (11 * ordinal + 7 * y + 5 * x + (y * x) // 8) % 251


@dataclass(frozen=True)
class Stack:
    """Parallel planes at even steps. Lengths in mm, LPS; `spacing` is between rows, columns."""

    count: int = 8
    orientation: tuple = AXIAL
    spacing: tuple = (0.8, 0.7)
    origin: tuple = (-11.5, 7.25, -31.0)
    step_mm: float = 2.5
    # Added to each step: what a tilted gantry does.
    shear: tuple = (0.0, 0.0, 0.0)

    @property
    def normal(self):
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def step(self):
        return self.normal * self.step_mm + np.asarray(self.shear)

    def position(self, k):
        return np.asarray(self.origin) + k * self.step

    def at(self, k):
        """The stack whose first plane is this one's plane k."""
        return replace(self, origin=tuple(self.position(k)))

    def plane(self):
        """The affine's first two columns (PS3.3 C.7.6.2.1.1): along a row, along a column."""
        o = np.asarray(self.orientation, float)
        return o[:3] * self.spacing[1], o[3:] * self.spacing[0]

    def expected(self, frames, dtype, axes="zyx", **more):
        """Truth for frames given in this stack's order: turned so that z ascends along the normal."""
        frames = np.asarray(frames, np.float64)
        first, step = self.position(0), self.step
        if np.dot(step, self.normal) < 0:
            first, step = self.position(frames.shape[axes.index("z")] - 1), -step
            frames = np.flip(frames, axes.index("z"))
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = self.plane()
        affine[:3, 2], affine[:3, 3] = step, first
        return Expected(frames, axes, affine, dtype, **more)

    def scattered(self, frames, positions, dtype, **more):
        """Truth for planes at any distances, in order of z; status and codes are the caller's."""
        truth = self.expected(frames, dtype, **more)
        truth.positions = np.asarray(positions, float)
        return truth


def unplaced(frames, dtype, axes, **more):
    """Truth for frames that do not say where they lie."""
    more = {"status": "warn", "codes": frozenset({"no_geometry"})} | more
    return Expected(np.asarray(frames, np.float64), axes, None, dtype, **more)


def blank(case, modality, sop_class, series="a", instance=0):
    """A dataset with identity and patient, no image yet."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"]
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid(case, series, instance)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240506"
    ds.StudyTime = ds.SeriesTime = "101500"
    ds.AccessionNumber, ds.Modality = "", modality
    ds.Manufacturer, ds.ManufacturerModelName = "Example", "Synthetic"
    ds.SeriesDescription, ds.ProtocolName = f"{case} {series}", "awkward"
    ds.PatientName, ds.PatientID = "Synthetic^Case", "awkward"
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(case), uid(case, series)
    ds.FrameOfReferenceUID = uid(case, "frame of reference")
    ds.StudyID, ds.SeriesNumber = "1", 1 + ord(series[0]) - ord("a")
    ds.InstanceNumber = instance + 1
    return ds


def set_pixels(ds, frames, dtype, bits_stored=None, photometric="MONOCHROME2"):
    """The Image Pixel Module (PS3.3 C.7.6.3) for (y, x), (f, y, x) or, of colour, (..., 3)."""
    dtype = np.dtype(dtype)
    frames = np.asarray(frames)
    is_colour = photometric in ("RGB", "YBR_FULL")
    shape = frames.shape[:-1] if is_colour else frames.shape
    ds.SamplesPerPixel = 3 if is_colour else 1
    if is_colour:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.Rows, ds.Columns = shape[-2:]
    if len(shape) == 3:
        ds.NumberOfFrames = shape[0]
    ds.BitsAllocated = 8 * dtype.itemsize
    ds.BitsStored = bits_stored or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(dtype.kind == "i")
    assert np.array_equal(frames.astype(dtype), frames), "the values do not fit their type"
    put_bytes(ds, frames.astype(dtype.newbyteorder("<")).tobytes())


def put_bytes(ds, raw):
    """Native Pixel Data, padded to even length (PS3.5 8.1.1)."""
    ds.PixelData = raw + b"\0" * (len(raw) % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"


def place(ds, stack, k=0):
    """Image Plane Module (PS3.3 C.7.6.2)."""
    ds.ImagePositionPatient = [round(float(v), 9) for v in stack.position(k)]
    ds.ImageOrientationPatient = [round(float(v), 12) for v in stack.orientation]
    ds.PixelSpacing = [float(v) for v in stack.spacing]
    ds.SliceThickness = abs(float(stack.step_mm))


def slices(case, modality, stack, frames=None, series="a", first=0, dtype="<i2", **attributes):
    """One single-frame dataset for each plane of the stack, InstanceNumber in the stack's order."""
    frames = ramps(first, stack.count) if frames is None else frames
    found = []
    for k, frame in enumerate(frames):
        ds = blank(case, modality, CLASSES[modality], series, first + k)
        place(ds, stack, k)
        ds.AcquisitionNumber = 1
        ds.AcquisitionTime = ds.ContentTime = "101501"
        if modality == "MR":
            ds.ScanningSequence, ds.SequenceVariant, ds.MRAcquisitionType = "GR", "SK", "2D"
            ds.EchoTime, ds.RepetitionTime, ds.FlipAngle = 5.0, 500.0, 20.0
            ds.MagneticFieldStrength, ds.EchoNumbers = 3.0, 1
        set_pixels(ds, frame, dtype)
        if modality in ("CT", "PT"):
            ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        found.append(ds)
    return found


def save(folder, datasets, names=None, syntax=ExplicitVRLittleEndian):
    """Writes each dataset to a file of its own, `0001.dcm` on unless names are given."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, ds in enumerate(datasets):
        name = names[index] if names else f"{len(list(folder.iterdir())) + 1:04}.dcm"
        write_file(folder / name, ds, syntax)


def write_file(path, ds, syntax):
    """One file with its meta information (PS3.10 7.1)."""
    is_ready = getattr(ds, "file_meta", None) is not None
    if not is_ready:
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.ImplementationClassUID = uid("awkward")
    used = ds.file_meta.TransferSyntaxUID
    ds.save_as(
        path,
        implicit_vr=used == ImplicitVRLittleEndian,
        little_endian=used.is_little_endian,
        enforce_file_format=True,
    )
