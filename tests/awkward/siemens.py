"""Siemens' private CSA header, as far as a MOSAIC needs it. Knows no case.

The layout is no part of the standard; it is what scanners write and nibabel, dcm2niix and ITK
describe: "SV10", four bytes, the number of elements, 77; for each element name (64 bytes), VM, VR,
type, number of items, 77; for each item four words of which the first two are its length, then its
text, padded to four bytes.
"""

import struct

MARK = 77


def csa(elements):
    """A CSA2 header of (name, VR, values)."""
    out = b"SV10\x04\x03\x02\x01" + struct.pack("<II", len(elements), MARK)
    for name, vr, values in elements:
        # Six items are written whatever the multiplicity.
        items = [f"{value}".encode() + b"\0" for value in values]
        items += [b""] * (6 - len(items))
        out += struct.pack("<64si4siii", name.encode(), len(values), vr.encode(), 6, len(items), MARK)
        for text in items:
            out += struct.pack("<iiii", len(text), len(text), MARK, len(text))
            out += text + b"\0" * (-len(text) % 4)
    return out


def mosaic_header(count, normal, times_ms):
    """The image header's elements that say where the tiles lie and when they were taken."""
    return csa(
        [
            ("EchoLinePosition", "IS", [12]),
            ("NumberOfImagesInMosaic", "US", [count]),
            ("SliceNormalVector", "FD", [f"{v:.8f}" for v in normal]),
            ("MosaicRefAcqTimes", "FD", [f"{t:.8f}" for t in times_ms]),
            ("ProtocolSliceNumber", "IS", [0]),
            ("BandwidthPerPixelPhaseEncode", "FD", ["23.67400000"]),
            ("PhaseEncodingDirectionPositive", "IS", [1]),
        ]
    )
