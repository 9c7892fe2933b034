"""A volume that is decoded already, and the floors of this machine under it."""

import os
import random

import numpy as np

from table.measure import expect, proc, quantile, seconds, timed
from table.mount import Mount

FORMATS = {"npy": 4096, "raw": 0, "nii": 4096}
PREADS = {"4K": 4 << 10, "64K": 64 << 10, "512K": 512 << 10}


def whole(path, data, offset):
    """The array, read at once: np.load where it is an npy file."""
    if path.suffix == ".npy":
        return np.load(path)
    return np.fromfile(path, data.dtype, data.bytes // data.dtype.itemsize, offset=offset).reshape(data.shape)


def mapped(path, data, offset):
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    return np.memmap(path, data.dtype, "r", offset, data.shape)


def scan(path, data, offset):
    return mapped(path, data, offset).max()


class Warm:
    """np.load, pread and a scan of a map, against the same array as a plain file."""

    name = "warm"

    def __init__(self, run):
        self.run, self.data = run, run.data
        self.repeats = 1 if run.quick else 5
        self.preads = 50 if run.quick else 1000
        self.random = random.Random(11)

    def round(self):
        data = self.data
        with Mount(self.run.program, data.folder / data.syntaxes[0], self.run.scratch) as mount:
            huge_kb = self.huge_kb()
            expect(data.same(np.load(mount.file())), "volume.npy, first read")
            share = (self.huge_kb() - huge_kb) * 1024 / data.bytes
            self.run.samples.add("warm huge pages", min(1, max(0, share)))
            passthrough = {}
            mount.until_passthrough(mount.file())
            for form, offset in FORMATS.items():
                path = mount.file(f"volume.{form}")
                before = mount.stats()["opens_passthrough"]
                # What goes through the page cache is in it from here on.
                expect(data.same(whole(path, data, offset)), f"{path.name}, read whole")
                expect(data.same(mapped(path, data, offset)), f"{path.name}, through a map")
                passthrough[form] = mount.stats()["opens_passthrough"] > before
                self.time_file(form, path, offset)
            self.run.facts["opened by"] = {
                form: "passthrough" if direct else "page cache" for form, direct in passthrough.items()
            }

    @staticmethod
    def huge_kb():
        """Memory files in huge pages, of this machine: those of the slab are what is new."""
        return int(proc("/proc/meminfo", "ShmemHugePages", "0").split()[0])

    def time_file(self, form, path, offset):
        data, add = self.data, self.run.samples.add
        both = [("plain", data.plain, data.header_bytes), ("ours", path, offset)]
        times = {}
        for repeat in range(self.repeats):
            # Neither is always the first.
            for who, file, skip in both if repeat % 2 else reversed(both):
                took = seconds(whole, file, data, skip)
                times.setdefault((who, "whole"), []).append(took)
                took = seconds(scan, file, data, skip)
                times.setdefault((who, "scan"), []).append(took)
        for size, length in PREADS.items():
            for who, took in self.time_preads(both, min(length, data.bytes)).items():
                times[who, size] = took
        for (who, what), took in times.items():
            add(f"warm {form} {what} {who}", quantile(took, 0.5))

    def time_preads(self, both, length):
        """Seconds of each pread at random offsets, the two files by turns."""
        handles = [(who, os.open(file, os.O_RDONLY), skip) for who, file, skip in both]
        buffer, truth = bytearray(length), memoryview(self.data.values.reshape(-1).view(np.uint8))
        places = [self.random.randrange(self.data.bytes - length + 1) for _ in range(self.preads)]
        times = {"plain": [], "ours": []}
        try:
            # Compared first and apart: the truth is the plain file, which must not be in the CPU's
            # caches when its turn comes.
            for at in places:
                for who, handle, skip in handles:
                    got = os.preadv(handle, [buffer], skip + at)
                    expect(got == length and buffer == truth[at : at + length], f"pread of {length} at {at}, {who}")
            for n, at in enumerate(places):
                for who, handle, skip in handles if n % 2 else reversed(handles):
                    times[who].append(seconds(os.preadv, handle, [buffer], skip + at))
        finally:
            for _, handle, _ in handles:
                os.close(handle)
        return times


class Floors:
    """What this machine does at best: copies, and reads of plain files and of the sources."""

    name = "floors"

    def __init__(self, run):
        self.run, self.data = run, run.data

    def round(self):
        data, add = self.data, self.run.samples.add
        source = np.load(data.plain)
        target = np.zeros_like(source)
        add("copy", seconds(np.copyto, target, source))
        add("copy to new memory", seconds(source.copy))
        del source
        view = memoryview(target.reshape(-1).view(np.uint8))
        with open(data.plain, "rb", buffering=0) as file:
            file.seek(data.header_bytes)
            got, took = timed(file.readinto, view)
        expect(got == data.bytes and data.same(target), "the plain file")
        add("read of plain", took)
        del view, target
        add("np.load of plain", seconds(np.load, data.plain))
        for syntax in data.syntaxes:
            data.read_sources(syntax)
            read_bytes, took = timed(data.read_sources, syntax)
            add(f"{syntax} sources", took)
            self.run.facts[f"{syntax} bytes"] = read_bytes
