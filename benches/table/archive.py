"""What is read: a CT series in several transfer syntaxes, its truth, and the same array as plain files.

A data folder holds one directory a syntax, `truth.npy` (stored values, z ascending) and `truth.json`
(`slope`, `intercept`). Where there is none, a small one is written here, by plain Python.
"""

import json
import struct
from pathlib import Path

import numpy as np

# In the order of the table: what costs least to decode comes first.
SYNTAXES = ["explicit", "rle", "jpegll", "jpegls", "j2k"]

EXPLICIT = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
CT = "1.2.840.10008.5.1.4.1.1.2"


class Data:
    """The series, what every voxel of it has to be, and plain files of the same values."""

    def __init__(self, folder, scratch, syntaxes=SYNTAXES):
        self.folder = Path(folder).resolve()
        self.syntaxes = [name for name in SYNTAXES if name in syntaxes and (self.folder / name).is_dir()]
        if not self.syntaxes:
            raise FileNotFoundError(f"{folder} has none of {', '.join(syntaxes)}")
        about = json.loads((self.folder / "truth.json").read_text())
        stored = np.load(self.folder / "truth.npy", mmap_mode="r")
        if about["slope"] != 1 or int(about["intercept"]) != about["intercept"]:
            raise ValueError("the truth needs slope 1 and a whole intercept")
        # Values as the mount shows them (README, "Values"): a whole intercept keeps int16.
        values = (stored + np.int16(about["intercept"])).astype("<i2")
        self.shape, self.dtype, self.bytes = values.shape, values.dtype, values.nbytes
        self.plain = Path(scratch) / "plain.npy"
        np.save(self.plain, values)
        del values
        # A map, so that no copy of its own stands in the way of what is measured.
        self.values = np.load(self.plain, mmap_mode="r")
        self.header_bytes = self.plain.stat().st_size - self.bytes

    @property
    def frames(self):
        return self.shape[0]

    @property
    def frame_bytes(self):
        return self.bytes // self.frames

    @property
    def slowest(self):
        return self.syntaxes[-1]

    def sources(self, syntax):
        """All files of a syntax."""
        return sorted(path for path in (self.folder / syntax).iterdir() if path.is_file())

    def read_sources(self, syntax):
        """Reads all files once, so that what is timed next is not this machine's disk. Bytes read."""
        total, buffer = 0, bytearray(1 << 20)
        for path in self.sources(syntax):
            with open(path, "rb", buffering=0) as file:
                while got := file.readinto(buffer):
                    total += got
        return total

    def same(self, array):
        """Whether an array read somewhere is the truth."""
        return array.shape == self.shape and array.dtype == self.dtype and np.array_equal(array, self.values)


def _element(group, number, vr, value):
    if isinstance(value, str):
        value = value.encode()
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    elif isinstance(value, int):
        value = struct.pack("<H", value)
    tag = struct.pack("<HH", group, number) + vr.encode()
    if vr in ("OB", "OW"):
        return tag + struct.pack("<HI", 0, len(value)) + value
    return tag + struct.pack("<H", len(value)) + value


def _pack_bits(data):
    """PackBits (PS3.5 G.3.1) of one byte plane: runs by run, the rest one byte at a time."""
    edges = np.flatnonzero(np.diff(data)) + 1
    packed = bytearray()
    for start, end in zip([0, *edges], [*edges, len(data)]):
        for at in range(start, end, 128):
            count = min(128, end - at)
            packed += bytes([257 - count if count > 1 else 0, data[at]])
    return bytes(packed) + b"\x80" * (len(packed) % 2)


def _pixel_data(frame, syntax):
    if syntax == EXPLICIT:
        return _element(0x7FE0, 0x0010, "OW", frame.astype("<i2").tobytes())
    words = frame.astype("<i2").view(np.uint16).ravel()
    high, low = (_pack_bits((words >> shift).astype(np.uint8)) for shift in (8, 0))
    fragment = struct.pack("<3I", 2, 64, 64 + len(high)).ljust(64, b"\0") + high + low
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(fragment)) + fragment
    encapsulated = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + encapsulated


def write_series(folder, uid, volume, syntax=EXPLICIT, intercept=-1024):
    """Writes one CT file a slice, in an order that says nothing of z."""
    folder.mkdir(parents=True)
    slices, rows, columns = volume.shape
    for z, frame in enumerate(volume):
        instance = f"{uid}.{z + 1}"
        meta = _element(2, 2, "UI", CT) + _element(2, 3, "UI", instance) + _element(2, 0x10, "UI", syntax)
        meta += _element(2, 0x12, "UI", "2.25.1")
        meta = _element(2, 1, "OB", b"\0\1") + meta
        elements = [
            (0x0008, 0x0016, "UI", CT),
            (0x0008, 0x0018, "UI", instance),
            (0x0008, 0x0060, "CS", "CT"),
            (0x0010, 0x0020, "LO", "PHANTOM"),
            (0x0020, 0x000D, "UI", f"{uid}.0"),
            (0x0020, 0x000E, "UI", uid),
            (0x0020, 0x0013, "IS", str(slices - z)),
            (0x0020, 0x0032, "DS", f"-100\\-100\\{z * 1.25}"),
            (0x0020, 0x0037, "DS", "1\\0\\0\\0\\1\\0"),
            (0x0028, 0x0002, "US", 1),
            (0x0028, 0x0004, "CS", "MONOCHROME2"),
            (0x0028, 0x0010, "US", rows),
            (0x0028, 0x0011, "US", columns),
            (0x0028, 0x0030, "DS", "0.5\\0.5"),
            (0x0028, 0x0100, "US", 16),
            (0x0028, 0x0101, "US", 16),
            (0x0028, 0x0102, "US", 15),
            (0x0028, 0x0103, "US", 1),
            (0x0028, 0x1052, "DS", str(intercept)),
            (0x0028, 0x1053, "DS", "1"),
        ]
        body = b"".join(_element(*element) for element in elements) + _pixel_data(frame, syntax)
        length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
        (folder / f"IM{(z * 7919) % 100_003:06}").write_bytes(bytes(128) + b"DICM" + length + meta + body)


def write_small(folder):
    """A data folder that needs no codec: explicit and RLE, 72 x 128 x 128, frames of whole pages."""
    folder = Path(folder)
    z, y, x = np.ogrid[:72, :128, :128]
    volume = np.where((y - 64) ** 2 + (x - 64) ** 2 < 3000, 900 + 3 * z + (x * y) // 64, 0).astype("<i2")
    for name, syntax in [("explicit", EXPLICIT), ("rle", RLE)]:
        write_series(folder / name, "2.25.7001", volume, syntax)
    np.save(folder / "truth.npy", volume)
    (folder / "truth.json").write_text(json.dumps({"slope": 1, "intercept": -1024}))


def write_neighbours(folder, count):
    """Small series beside a large one, for those who look around while it is decoded."""
    rng = np.random.default_rng(3)
    for n in range(count):
        volume = rng.integers(0, 2000, (24, 64, 64), np.int16)
        write_series(Path(folder) / f"S{n:03}", f"2.25.7100.{n}", volume)
