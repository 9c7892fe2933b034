#!/usr/bin/env python3
"""How fast one thread decodes JPEG Lossless and JPEG-LS, beside the decoders that Python programs use.

    python benches/codecs.py --data DIR [--rounds 9] [--times 10] [--program PROGRAM] [--also NAME=PROGRAM ...]

DIR is the data set's directory, or any with DICOM files in these transfer syntaxes (.57 .70 .80 .81): of those,
frames of 512 x 512 x 16 bits or more are taken. PROGRAM is the bench `codecs` of this crate, which is built when it is
not named; `--also` names programs that speak as it does (the top of benches/codecs.rs). Peers that are installed take
part: pylibjpeg-libjpeg, GDCM (python-gdcm), imagecodecs (libjpeg-turbo and liblj92 for JPEG Lossless, CharLS for
JPEG-LS).

What each decodes of each frame is compared with what the first does; who differs is named and left out for that frame.
In each round every decoder decodes every frame `--times` times, one decoder after the other; figures are processor time
of the thread that decodes, so what else the machine does is little of them. Printed: decoded MB/s of the median round,
and the median over rounds of each decoder's rate to the first's in the same round. What Python adds (GDCM's samples
pass through a str) is in the peers' figures, as it is in their users' programs. Needs NumPy and pydicom.
"""
import argparse, json, pathlib, statistics, subprocess, sys, tempfile, time
import numpy as np
import pydicom
from pydicom.encaps import generate_frames

SYNTAXES = {
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
}
LEAST_BYTES = 512 * 512 * 2
OURS = "dicomfs"


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--program")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PROGRAM")
    return parser.parse_args()


def built():
    """The program, built."""
    build = ["cargo", "bench", "--bench", "codecs", "--no-run", "--message-format=json"]
    for line in subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "codecs":
            return message["executable"]
    sys.exit("cargo names no program")


class Frame:
    def __init__(self, dataset, encoded, place):
        self.uid = dataset.file_meta.TransferSyntaxUID
        self.group = SYNTAXES[self.uid]
        self.shape = (dataset.Rows, dataset.Columns)
        self.stored, self.signed = dataset.BitsStored, dataset.PixelRepresentation
        self.encoded, self.place = encoded, place
        place.write_bytes(encoded)
        self.truth = None

    def len_bytes(self):
        return 2 * self.shape[0] * self.shape[1]

    def line(self):
        words = (self.uid, *self.shape, 16, self.stored, self.signed, self.place)
        return "\t".join(str(word) for word in words)

    def agrees(self, samples):
        """Whether these are the samples, whatever was made of the sign and the bits above it."""
        mask = (1 << self.stored) - 1
        words = np.frombuffer(np.ascontiguousarray(samples).tobytes(), "<u2")
        return words.size == self.truth.size and bool(np.all((words ^ self.truth) & mask == 0))


def frames(data, work):
    found = []
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        try:
            dataset = pydicom.dcmread(path)
            count = int(dataset.get("NumberOfFrames") or 1)
            wanted = (
                dataset.file_meta.TransferSyntaxUID in SYNTAXES
                and dataset.BitsAllocated == 16
                and dataset.SamplesPerPixel == 1
                and 2 * dataset.Rows * dataset.Columns >= LEAST_BYTES
            )
            encoded = list(generate_frames(dataset.PixelData, number_of_frames=count)) if wanted else []
        except Exception:
            continue  # no DICOM, or none that a mount would show
        found += [Frame(dataset, one, work / f"{len(found) + n}") for n, one in enumerate(encoded)]
    return found


class Program:
    """A program that decodes, as benches/codecs.rs says."""

    def __init__(self, name, path):
        self.name, self.path = name, path

    def run(self, frames, times):
        lines = "\n".join(frame.line() for frame in frames)
        ran = subprocess.run([self.path, str(times)], input=lines, stdout=subprocess.PIPE, text=True, check=True)
        return [int(line) for line in ran.stdout.split()]

    def samples(self, frame):
        self.run([frame], 1)
        return np.frombuffer(pathlib.Path(f"{frame.place}.out").read_bytes(), "<u2")


class Peer:
    """A decoder of this process."""

    def __init__(self, name, decode, only=""):
        self.name, self.decode, self.only = name, decode, only

    def run(self, frames, times):
        taken = []
        for frame in frames:
            start = time.thread_time_ns()
            for _ in range(times):
                self.decode(frame)
            taken.append((time.thread_time_ns() - start) / times)
        return taken

    def samples(self, frame):
        if not frame.group.startswith(self.only):
            raise LookupError("not a codec of its")
        return self.decode(frame)


def gdcm_decoder(gdcm):
    def decode(frame):
        fragment = gdcm.Fragment()
        fragment.SetByteStringValue(frame.encoded)
        fragments = gdcm.SequenceOfFragments.New()
        fragments.AddFragment(fragment)
        element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
        element.SetValue(fragments.__ref__())
        image = gdcm.Image()
        image.SetNumberOfDimensions(2)
        image.SetDimensions((frame.shape[1], frame.shape[0], 1))
        image.SetDataElement(element)
        kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
        image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
        image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(frame.uid))))
        image.SetPixelFormat(gdcm.PixelFormat(1, 16, frame.stored, frame.stored - 1, frame.signed))
        return np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), "<u2")

    return decode


def peers():
    found = []

    def add(name, make, only=""):
        try:
            found.append(Peer(name, make(), only))
        except (ImportError, AttributeError) as error:
            print(f"left out: {name} ({error})", file=sys.stderr)

    def libjpeg():
        import libjpeg

        return lambda frame: libjpeg.decode(frame.encoded)

    def gdcm():
        import gdcm

        return gdcm_decoder(gdcm)

    def codec(name):
        import imagecodecs

        decode = getattr(imagecodecs, name)
        return lambda frame: decode(frame.encoded)

    add("pylibjpeg-libjpeg", libjpeg)
    add("GDCM", gdcm)
    add("imagecodecs (libjpeg-turbo)", lambda: codec("jpeg8_decode"), "JPEG Lossless")
    add("imagecodecs (liblj92)", lambda: codec("ljpeg_decode"), "JPEG Lossless")
    add("imagecodecs (CharLS)", lambda: codec("jpegls_decode"), "JPEG-LS")
    return found


def able(decoder, frames):
    """The frames that it decodes, rightly."""
    right, wrong = [], 0
    for frame in frames:
        try:
            samples = decoder.samples(frame)
        except Exception:
            continue  # none that it decodes
        if frame.agrees(samples):
            right.append(frame)
        else:
            wrong += 1
    if wrong:
        print(f"left out: {decoder.name} decodes {wrong} frames otherwise", file=sys.stderr)
    return right


def table(group, frames, decoders, opts):
    ours = decoders[0]
    mine = [frame for frame in frames if frame.group == group]
    if not mine:
        return
    taking = [(decoder, able(decoder, mine)) for decoder in decoders]
    taking = [(decoder, right) for decoder, right in taking if right]
    taken = {decoder.name: [] for decoder, _ in taking}
    for _ in range(opts.rounds):
        for decoder, right in taking:
            taken[decoder.name].append(dict(zip(right, decoder.run(right, opts.times))))
    print(f"\n| {group}, {len(mine)} frames | MB/s a core | to {OURS} | frames |\n|---|---|---|---|")
    for decoder, right in taking:
        size = sum(frame.len_bytes() for frame in right)
        sums = [sum(one.values()) for one in taken[decoder.name]]
        # Of the same frames, in the same round.
        same = [sum(one[frame] for frame in right) for one in taken[ours.name]]
        ratio = statistics.median(ours_ns / ns for ours_ns, ns in zip(same, sums))
        rate = size / statistics.median(sums) * 1e3
        print(f"| {decoder.name} | {rate:.0f} | {ratio:.2f}x | {len(right)} |")


def main():
    opts = options()
    decoders = [Program(OURS, opts.program or built())]
    decoders += [Program(*also.split("=", 1)) for also in opts.also] + peers()
    with tempfile.TemporaryDirectory() as work:
        found = frames(opts.data, pathlib.Path(work))
        if not found:
            sys.exit("no frames in these syntaxes")
        for frame in found:
            frame.truth = decoders[0].samples(frame)
        for group in dict.fromkeys(SYNTAXES.values()):
            table(group, found, decoders, opts)


if __name__ == "__main__":
    main()
