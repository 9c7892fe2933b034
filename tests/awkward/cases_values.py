"""Cases of what stored values mean: rescale, tables, signs, colours, encodings."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dataset import (
    COLUMNS,
    ROWS,
    SECONDARY_CAPTURE,
    Stack,
    blank,
    bytes8,
    put_bytes,
    ramp,
    ramps,
    save,
    set_pixels,
    slices,
    unplaced,
    write_file,
)
from truth import case

RESCALE = "PS3.3 C.11.1.1.2: Output units = m * SV + b, with the m and b of that image"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
ULTRASOUND_CINE = "1.2.840.10008.5.1.4.1.1.3.1"


@case("PET: a slope of its own for each slice, the first a whole number", RESCALE)
def rescale_slopes_differ(folder):
    stack = Stack()
    slopes = [1.0, 0.37, 2.125, 0.0625, 1.5, 0.9, 3.25, 0.41]
    found = slices("rescale_slopes_differ", "PT", stack, Units="BQML")
    for ds, slope in zip(found, slopes):
        ds.RescaleSlope = str(slope)
    save(folder, found)
    frames = ramps(0, 8) * np.array(slopes)[:, None, None]
    return stack.expected(frames, "<f4", codes=frozenset({"mixed_rescale"}))


@case("CT: an intercept of its own for each slice", RESCALE)
def rescale_intercepts_differ(folder):
    stack = Stack()
    intercepts = [-1024, -1000, 0, -1024, -512, -1000, -1, -1024]
    found = slices("rescale_intercepts_differ", "CT", stack)
    for ds, intercept in zip(found, intercepts):
        ds.RescaleIntercept = str(intercept)
    save(folder, found)
    frames = ramps(0, 8) + np.array(intercepts)[:, None, None]
    return stack.expected(frames, "<i2", codes=frozenset({"mixed_rescale"}))


@case("PET: a slope far below one", RESCALE + "; DS has 16 digits")
def tiny_slope(folder):
    stack = Stack(count=5)
    save(folder, slices("tiny_slope", "PT", stack, RescaleSlope="0.00024414062", Units="BQML"))
    return stack.expected(ramps(0, 5) * 0.00024414062, "<f4")


@case("MONOCHROME1", "PS3.3 C.7.6.3.1.2: it says how to display; values stay as they are")
def monochrome1(folder):
    stack = Stack(count=5)
    save(folder, slices("monochrome1", "MR", stack, PhotometricInterpretation="MONOCHROME1"))
    return stack.expected(ramps(0, 5), "<i2")


@case("signed 12 bits with garbage in the four bits above",
      "PS3.5 8.1.1: bits outside Bits Stored hold no part of the value")
def garbage_above_bits_stored(folder):
    stack = Stack(count=5)
    values = np.stack([ramp(k) % 4096 - 2048 for k in range(5)])
    found = slices("garbage_above_bits_stored", "CT", stack, values)
    noise = np.random.default_rng(2).integers(0, 16, values.shape) << 12
    for ds, stored in zip(found, (values & 0xFFF) | noise):
        ds.BitsStored, ds.HighBit = 12, 11
        put_bytes(ds, stored.astype("<u2").tobytes())
    save(folder, found)
    return stack.expected(values, "<i2")


@case("unsigned 16 bits, intercept -1024, padding value 65535",
      "PS3.3 C.7.5.1.1.2: padding is among the stored values; " + RESCALE)
def unsigned_with_padding(folder):
    stack = Stack(count=6)
    frames = ramps(0, 6) * 13
    frames[:, :4, :5] = 65535
    found = slices("unsigned_with_padding", "CT", stack, frames, dtype="<u2",
                   RescaleIntercept="-1024")
    for ds in found:
        ds.add_new(0x00280120, "US", 65535)
    save(folder, found)
    return stack.expected(frames - 1024, "<i4")


@case("a Modality LUT", "PS3.3 C.11.1.1: the table takes the place of slope and intercept")
def modality_lut(folder):
    ds = blank("modality_lut", "OT", SECONDARY_CAPTURE)
    ds.ConversionType = "DI"
    stored = ramp(0) % 700 + 50
    set_pixels(ds, stored, "<u2", bits_stored=12)
    # 600 entries from stored value 100 on: what lies outside takes the first or last.
    entries = (np.arange(600) * 97 + 11) % 60000
    table = Dataset()
    table.add_new(0x00283002, "US", [600, 100, 16])
    table.ModalityLUTType = "US"
    table.add_new(0x00283006, "OW", entries.astype("<u2").tobytes())
    ds.ModalityLUTSequence = Sequence([table])
    save(folder, [ds])
    return unplaced(entries[np.clip(stored - 100, 0, 599)][None], "<u2", "zyx")


@case("one series in four transfer syntaxes", "PS3.5 A.1 to A.5: the values are the same in each")
def mixed_transfer_syntaxes(folder):
    stack = Stack()
    syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
                DeflatedExplicitVRLittleEndian]
    folder.mkdir(parents=True)
    for k, ds in enumerate(slices("mixed_transfer_syntaxes", "CT", stack)):
        syntax = syntaxes[k % 4]
        if syntax == ExplicitVRBigEndian:
            put_bytes(ds, np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes())
        write_file(folder / f"{k:04}.dcm", ds, syntax)
    return stack.expected(ramps(0, 8), "<i2")


@case("RLE and native slices in one series", "PS3.5 A.4.2: RLE loses nothing")
def compressed_and_native(folder):
    stack = Stack()
    found = slices("compressed_and_native", "CT", stack)
    for ds in found[1::2]:
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(RLELossless, generate_instance_uid=False)
    save(folder, found)
    return stack.expected(ramps(0, 8), "<i2")


@case("PALETTE COLOR with 16-bit tables", "PS3.3 C.7.9: index to colour by three tables")
def palette_color(folder):
    ds = blank("palette_color", "US", ULTRASOUND)
    del ds.FrameOfReferenceUID
    index = bytes8(3)
    set_pixels(ds, index, "u1")
    ds.PhotometricInterpretation = "PALETTE COLOR"
    tables = [(np.arange(256) * factor) % 65536 for factor in (257, 101, 40503)]
    for name, table in zip(("Red", "Green", "Blue"), tables):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        ds[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(ds, f"{name}PaletteColorLookupTableData", table.astype("<u2").tobytes())
    save(folder, [ds])
    colour = np.stack([table[index] for table in tables], axis=-1)
    return unplaced(colour[None], "<u2", "zyxc")


@case("YBR_FULL_422, native", "PS3.3 C.7.6.3.1.2: two Y, one Cb, one Cr for two pixels")
def ybr_full_422(folder):
    ds = blank("ybr_full_422", "US", ULTRASOUND)
    del ds.FrameOfReferenceUID
    luma = 60 + bytes8(5) % 130
    cb, cr = (100 + bytes8(n, ROWS, COLUMNS // 2) % 60 for n in (6, 7))
    stored = np.stack([luma[:, 0::2], luma[:, 1::2], cb, cr], axis=-1)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
    ds.Rows, ds.Columns = ROWS, COLUMNS
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    put_bytes(ds, stored.astype("u1").tobytes())
    save(folder, [ds])
    matrix = np.array(
        [[0.2990, 0.5870, 0.1140], [-0.1687, -0.3313, 0.5000], [0.5000, -0.4187, -0.0813]]
    )
    ybr = np.stack([luma, np.repeat(cb, 2, 1) - 128, np.repeat(cr, 2, 1) - 128], axis=-1)
    colour = np.clip(np.rint(ybr @ np.linalg.inv(matrix).T), 0, 255)
    # Co-sited or centred chroma and the last digit of the matrix are free: one level.
    return unplaced(colour[None], "|u1", "zyxc", tolerance=1.0)


@case("an ultrasound cine without geometry", "PS3.3 C.7.6.6: frames in stored order")
def ultrasound_cine(folder):
    ds = blank("ultrasound_cine", "US", ULTRASOUND_CINE)
    del ds.FrameOfReferenceUID
    frames = np.stack([bytes8(n) for n in range(12)])
    set_pixels(ds, frames, "u1")
    ds.FrameTime = "40"
    ds.FrameIncrementPointer = 0x00181063
    save(folder, [ds])
    return unplaced(frames, "|u1", "fyx")
