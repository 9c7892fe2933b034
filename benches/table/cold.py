"""A volume that nobody has read yet: whole, one slice, one patch, by many at once, and meanwhile."""

import itertools
import os
import random
import time
from pathlib import Path

import numpy as np

from table.archive import write_neighbours
from table.measure import Readers, cores, expect, quantile, seconds, timed
from table.mount import Mount

READERS = 16


class Cold:
    """np.load of all, the decode time under it, and what it costs to move the bytes."""

    name = "cold"

    def __init__(self, run):
        self.run, self.data = run, run.data

    def mount(self, syntax, *options):
        self.data.read_sources(syntax)
        return Mount(self.run.program, self.data.folder / syntax, self.run.scratch, options)

    def round(self):
        add = self.run.samples.add
        for syntax in self.data.syntaxes:
            plain = [seconds(np.load, self.data.plain) for _ in range(3)]
            add(f"{syntax} plain", quantile(plain, 0.5))
            with self.mount(syntax) as mount:
                array, took = timed(np.load, mount.file())
                expect(self.data.same(array), f"{syntax}, first read")
                del array
                add(f"{syntax} load", took)
                self.count_frames(mount, f"{syntax} load", self.data.frames)
            decode = self.decode_s(syntax)
            transport, transport_cpu = self.transport_s(syntax)
            add(f"{syntax} decode", decode)
            add(f"{syntax} decode/cores", decode / cores())
            add(f"{syntax} decode one", decode / self.data.frames)
            add(f"{syntax} decode 64/cores", 64 * decode / self.data.frames / cores())
            add(f"{syntax} floor", (decode + transport_cpu) / cores())
            add("transport", transport)
            add("transport CPU", transport_cpu)

    def count_frames(self, mount, what, wanted):
        """Notes how many frames were decoded for it, and whether that is not as many as it takes."""
        frames = mount.count("frames_decoded")
        self.run.samples.add(f"{what} frames", frames)
        if frames != wanted:
            self.run.warn(f"{what}: {frames} frames were decoded, not {wanted}")

    def decode_s(self, syntax):
        """Seconds one thread spends on all frames: a byte of each is asked for, so that moving
        the bytes takes none of its time."""
        data = self.data
        with self.mount(syntax, "--decode-threads", "1") as mount:
            handle = os.open(mount.file(), os.O_RDONLY)
            try:
                for n in range(data.frames):
                    expect(len(os.pread(handle, 1, 4096 + n * data.frame_bytes)) == 1, "a byte of a frame")
            finally:
                os.close(handle)
            self.count_frames(mount, f"{syntax} decode", data.frames)
            return mount.stats()["decode_ms"] / 1e3

    def transport_s(self, syntax):
        """Seconds, and CPU seconds of reader and daemon, of an np.load whose frames are decoded but
        not in the kernel's page cache."""
        with self.mount(syntax) as mount:
            path = mount.file()
            # Held from before the first frame, so that the file stays with the page cache.
            handle = os.open(path, os.O_RDONLY)
            try:
                expect(self.data.same(np.load(path)), f"{syntax}, first read")
                frames = mount.count("frames_decoded")
                before = mount.stats()
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                cpu = time.process_time() + mount.cpu_s()
                array, took = timed(np.load, path)
                cpu = time.process_time() + mount.cpu_s() - cpu
                expect(self.data.same(array), f"{syntax}, read again")
                after = mount.stats()
            finally:
                os.close(handle)
            moved = after["read_bytes"] - before["read_bytes"]
            again = after["frames_decoded"] - frames
            if moved < self.data.bytes or again:
                self.run.warn(f"{syntax}: reading again moved {moved} bytes and decoded {again} frames")
            return took, cpu


class Touch(Cold):
    """One slice, and one 64^3 patch."""

    name = "touch"

    def __init__(self, run):
        super().__init__(run)
        self.random = random.Random(7)

    def round(self):
        data = self.data
        z = self.random.randrange(data.frames)
        corner = [self.random.randrange(length - 63) for length in data.shape]
        box = tuple(slice(at, at + 64) for at in corner)
        cases = {
            "slice map": (z, lambda path: np.array(np.load(path, mmap_mode="r")[z])),
            "slice read": (z, lambda path: self.read_slice(path, z)),
            "patch": (box, lambda path: np.array(np.load(path, mmap_mode="r")[box])),
        }
        for name, (where, work) in cases.items():
            self.run.samples.add(f"plain {name}", seconds(work, data.plain))
            for syntax in data.syntaxes:
                with self.mount(syntax) as mount:
                    got, took = timed(work, mount.file())
                    expect(np.array_equal(got, data.values[where]), f"{syntax}, {name}")
                    self.run.samples.add(f"{syntax} {name}", took)
                    self.count_frames(mount, f"{syntax} {name}", 64 if name == "patch" else 1)

    def read_slice(self, path, z):
        skip = self.data.header_bytes if path == self.data.plain else 4096
        frame = np.empty(self.data.shape[1:], self.data.dtype)
        with open(path, "rb", buffering=0) as file:
            file.seek(skip + z * self.data.frame_bytes)
            file.readinto(frame)
        return frame


class Many(Cold):
    """16 processes that load one volume at once, against one."""

    name = "many"

    def round(self):
        add, values = self.run.samples.add, self.data.values
        readers = Readers(READERS, self.data.plain, values)
        readers.go()
        add(f"plain {READERS} readers", readers.finish())
        for syntax in self.data.syntaxes:
            for count in (1, READERS):
                with self.mount(syntax) as mount:
                    readers = Readers(count, mount.file(), values)
                    readers.go()
                    add(f"{syntax} {count} readers", readers.finish())
                    self.count_frames(mount, f"{syntax} {count} readers", self.data.frames)


class Busy(Cold):
    """stat and open of files never asked for before, while 16 readers keep all decoders busy."""

    name = "busy"

    def __init__(self, run):
        super().__init__(run)
        self.count = 4 if run.quick else 40
        self.archive = Path(run.scratch) / "busy"
        write_neighbours(self.archive, self.count)
        (self.archive / "large").symlink_to(self.data.folder / self.data.slowest)

    def round(self):
        self.data.read_sources(self.data.slowest)
        with Mount(self.run.program, self.archive, self.run.scratch, volumes=self.count + 1) as mount:
            series = os.listdir(mount.root / "series")
            (large,) = (name for name in series if not name.startswith("2.25.7100."))
            small = [mount.root / "series" / name for name in series if name != large]
            readers = Readers(READERS, mount.file(series=large), self.data.values)
            probe = Probe(small, self.data.sources(self.data.slowest))
            readers.go()
            times = probe.until(readers.all_have_read)
            readers.finish()
        self.run.facts["probes"] = self.run.facts.get("probes", 0) + len(times["stat ours"])
        for name, took in times.items():
            if took:
                for part in (0.5, 0.99, 1):
                    self.run.samples.add(f"busy {name} {part}", quantile(took, part))


class Probe:
    """stat and open of files of several series, each a name the kernel has not seen, and of as many
    files of the local file system."""

    def __init__(self, folders, local):
        names = [f"volume.{end}" for end in ("npy", "raw", "nii", "nhdr", "mhd", "json")]
        for n in range(24):
            names += [f"frames/{n + 1:04}.npy", f"dicom/{n + 1:04}.dcm"]
        self.paths = [folder / name for folder in folders for name in names]
        random.Random(5).shuffle(self.paths)
        self.local = itertools.cycle(local)

    def until(self, done):
        """Seconds of each call until `done`, or until there is no new name left."""
        times = {f"{call} {who}": [] for call in ("stat", "open") for who in ("ours", "local")}
        for path in self.paths:
            if done():
                break
            for who, file in (("ours", path), ("local", next(self.local))):
                times[f"stat {who}"].append(seconds(os.stat, file))
                handle, took = timed(os.open, file, os.O_RDONLY)
                times[f"open {who}"].append(took)
                os.close(handle)
            time.sleep(0.001)
        return times
