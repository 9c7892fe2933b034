#!/usr/bin/env python3
"""Many readers of more volumes than the memory budget holds, for a while: are the bytes right, does the budget hold?

    python benches/soak.py --program target/release/dicomfs [--minutes 10] [--readers 8] [--budget-mib 256]
                           [--cache-dir] [--place DIR] [--seed 1]

Makes an archive of about four times the budget (native and deflated CT, a float MR, one volume larger than the budget,
one of small odd frames), mounts it, and has processes read it in all ways at once: whole arrays, maps, slices, patches,
frames/, .raw and .nii at odd offsets, with handles kept open. Every byte is compared with what went into the archive.
Ten times a second it takes what the program says it holds (.dicomfs/stats.json) and what the kernel says: the blocks
of the worker's files in memory (/proc/PID/fd), and beside them the growth of Shmem in /proc/meminfo, in which all
programs of the machine are. With --cache-dir there is a directory tier of 60 % of the archive as well. As root
the page cache is dropped now and then. Needs NumPy and pydicom. Exits with 1 if a byte was wrong, a read failed, or a
budget was exceeded by more than 5 %.
"""
import argparse, json, multiprocessing, os, random, shutil, subprocess, sys, tempfile, time, traceback
import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, MRImageStorage

MIB = 1 << 20
OVER_MAX = 0.05


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--budget-mib", type=int, default=256)
    parser.add_argument("--cache-dir", action="store_true")
    parser.add_argument("--drop-caches-s", type=float, default=15)
    parser.add_argument("--place", default=None, help="where archive and truth go (reused when they are there)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def plan(budget_mib):
    """(uid, modality, shape, transfer syntax) of all volumes: about four times the budget, decoded."""
    frames = lambda mib: max(4, int(mib * 2))  # of 512 KiB
    share = budget_mib / 256
    volumes = [("2.25.900", "CT", (frames(320 * share), 512, 512), ExplicitVRLittleEndian)]
    for n in range(8):
        syntax = DeflatedExplicitVRLittleEndian if n % 2 else ExplicitVRLittleEndian
        volumes.append((f"2.25.91{n}", "CT", (frames(80 * share), 512, 512), syntax))
    volumes.append(("2.25.930", "MR", (frames(52 * share) * 2, 256, 256), ExplicitVRLittleEndian))
    volumes.append(("2.25.940", "CT", (500, 33, 35), DeflatedExplicitVRLittleEndian))
    return volumes


def make(place, volumes):
    """Writes the archive, and what volume.raw has to be."""
    archive, truths = os.path.join(place, "archive"), os.path.join(place, "truth")
    done = os.path.join(place, "done.json")
    if os.path.exists(done) and json.load(open(done)) == json.loads(json.dumps(volumes)):
        return archive, truths
    for folder in (archive, truths):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
    for number, (uid, modality, shape, syntax) in enumerate(volumes):
        rng = np.random.default_rng(number)
        noise = rng.integers(0, 4096, shape[1:], dtype=np.int16)
        dtype = np.float32 if modality == "MR" else np.int16
        truth = np.lib.format.open_memmap(os.path.join(truths, uid + ".npy"), "w+", dtype, shape)
        os.makedirs(os.path.join(archive, uid))
        for z in range(shape[0]):
            stored = np.roll(noise, z * 3 + number, axis=z % 2) ^ (z % 7)
            slope = 0.5 + z % 3 if modality == "MR" else 1
            intercept = 0 if modality == "MR" else -1024
            truth[z] = stored * dtype(slope) + dtype(intercept)
            write(os.path.join(archive, uid, f"{z:05}.dcm"), uid, modality, z, stored, slope, intercept, syntax)
        truth.flush()
    json.dump(volumes, open(done, "w"))
    return archive, truths


def write(path, uid, modality, z, stored, slope, intercept, syntax):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{uid}.{z + 1}")
    meta.TransferSyntaxUID = UID(syntax)
    ds = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID = "2.25.9", uid, "soak"
    ds.Modality, ds.InstanceNumber = modality, z + 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    ds.PixelData = stored.astype("<i2").tobytes()
    ds.save_as(path, enforce_file_format=True)


class Reader:
    """One process that reads at random and compares."""

    def __init__(self, series, truths, volumes, seed):
        self.rng = random.Random(seed)
        self.names = [uid for uid, *_ in volumes]
        self.series = series
        self.truth = {uid: np.load(os.path.join(truths, uid + ".npy"), mmap_mode="r") for uid in self.names}
        self.raw = {uid: truth.reshape(-1).view(np.uint8) for uid, truth in self.truth.items()}
        self.maps, self.files = [], []
        self.wrong = 0

    def check(self, same, what):
        if not same:
            self.wrong += 1
            print(f"WRONG BYTES: {what}", flush=True)

    def file(self, uid, name):
        return os.path.join(self.series, uid, name)

    def step(self):
        if self.rng.random() < 0.3:
            # Read so often that they are complete, and not kept open: these are read past the program.
            return self.whole(self.rng.choice(self.names[-2:]))
        uid = self.rng.choice(self.names[:-2] if self.rng.random() < 0.95 else self.names)
        kinds = [self.whole, self.map, self.slices, self.slices, self.patch, self.frame, self.raw_file, self.open_file]
        self.rng.choice(kinds)(uid)

    def whole(self, uid):
        if self.rng.random() < 0.5:
            self.check(np.array_equal(np.load(self.file(uid, "volume.npy")), self.truth[uid]), f"{uid} np.load")
        else:
            got = np.fromfile(self.file(uid, "volume.raw"), np.uint8)
            self.check(np.array_equal(got, self.raw[uid]), f"{uid} volume.raw")

    def map(self, uid):
        """Opens a map that is kept for a while."""
        self.maps.append((uid, np.load(self.file(uid, "volume.npy"), mmap_mode="r")))
        if len(self.maps) > 4:
            self.maps.pop(self.rng.randrange(4))

    def slices(self, _):
        if not self.maps:
            return
        uid, array = self.rng.choice(self.maps)
        for _ in range(8):
            z = self.rng.randrange(array.shape[0])
            self.check(np.array_equal(array[z], self.truth[uid][z]), f"{uid} slice {z} of a map")

    def patch(self, uid):
        array = np.load(self.file(uid, "volume.npy"), mmap_mode="r")
        corner = [self.rng.randrange(max(1, n - 64)) for n in array.shape]
        where = tuple(slice(at, at + 64) for at in corner)
        self.check(np.array_equal(array[where], self.truth[uid][where]), f"{uid} patch at {corner}")

    def frame(self, uid):
        z = self.rng.randrange(len(self.truth[uid]))
        got = np.load(self.file(uid, f"frames/{z + 1:04}.npy"))
        self.check(np.array_equal(got, self.truth[uid][z]), f"{uid} frames/{z + 1}")

    def raw_file(self, uid):
        """Odd offsets of a file that is opened for it."""
        name, skip = self.rng.choice([("volume.raw", 0), ("volume.nii", 4096), ("volume.npy", 4096)])
        descriptor = os.open(self.file(uid, name), os.O_RDONLY)
        self.odd(uid, descriptor, skip, name)
        os.close(descriptor)

    def open_file(self, uid):
        """Odd offsets of a file that stays open."""
        self.files.append((uid, os.open(self.file(uid, "volume.npy"), os.O_RDONLY)))
        if len(self.files) > 4:
            os.close(self.files.pop(self.rng.randrange(4))[1])
        self.odd(*self.rng.choice(self.files), 4096, "an open volume.npy")

    def odd(self, uid, descriptor, skip, what):
        raw = self.raw[uid]
        for _ in range(6):
            at = self.rng.randrange(len(raw))
            size = self.rng.choice([1, 4096, 65537, 3 * MIB])
            want = raw[at:at + size]
            got = os.pread(descriptor, size, skip + at)
            self.check(got == want.tobytes(), f"{uid} {what} {size} at {at}")


def read_for(seconds, results, *about):
    reader = Reader(*about)
    end, ops, errors = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        try:
            reader.step()
        except OSError as error:
            errors += 1
            print(f"FAILED READ: {error}", flush=True)
            traceback.print_exc()
        ops += 1
    results.put((ops, errors, reader.wrong))


def shmem_bytes():
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Shmem:"))


def worker(root):
    """The process that has most files in memory open of those that serve this mount."""
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"dicomfs") or b"dicomfs" in os.path.basename(words[0]):
            if root.encode() in words:
                pids.append(pid)
    return max(pids, key=memory_files_bytes)


def memory_files_bytes(pid):
    """Memory of the process's anonymous files: slabs."""
    total = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith(("/#", "/memfd:")):
                total += os.stat(f"/proc/{pid}/fd/{fd}").st_blocks * 512
        except OSError:
            pass  # closed meanwhile
    return total


def folder_bytes(folder):
    total = 0
    for name in os.listdir(folder):
        try:
            total += os.stat(os.path.join(folder, name)).st_blocks * 512
        except FileNotFoundError:
            pass
    return total


class Watch:
    """The most that was held, by the program's own count, in memory, and on disk."""

    def __init__(self, root, budget, folder):
        self.stats_path, self.budget, self.folder = os.path.join(root, ".dicomfs/stats.json"), budget, folder
        self.shmem_before, self.root, self.pid = shmem_bytes(), root, None
        self.counted = self.real = self.shmem = self.disk = self.samples = 0
        self.over_s = 0

    def stats(self):
        with open(self.stats_path, "rb", buffering=0) as file:
            return json.loads(file.read(1 << 16))

    def sample(self):
        stats = self.stats()
        self.pid = self.pid or worker(self.root)
        real = memory_files_bytes(self.pid)
        self.shmem = max(self.shmem, shmem_bytes() - self.shmem_before)
        self.counted = max(self.counted, stats["cache_resident_bytes"])
        self.real = max(self.real, real)
        self.over_s += 0.1 * (real > self.budget * (1 + OVER_MAX))
        if self.folder:
            self.disk = max(self.disk, folder_bytes(self.folder))
        self.samples += 1

    def over(self, held, budget):
        return max(0.0, held / budget - 1)


def main():
    given = options()
    place = given.place or tempfile.mkdtemp(prefix="dicomfs-soak")
    volumes = plan(given.budget_mib)
    archive, truths = make(place, volumes)
    decoded = sum(os.path.getsize(os.path.join(truths, name)) for name in os.listdir(truths))
    budget, disk_budget = given.budget_mib * MIB, decoded * 6 // 10
    root = os.path.join(place, "mnt")
    os.makedirs(root, exist_ok=True)
    folder = os.path.join(place, "cache") if given.cache_dir else None
    extra = []
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, 0o700)
        extra = ["--cache-dir", folder, "--cache-dir-size", str(disk_budget)]
    watch = Watch(root, budget, folder)
    mount = [given.program, "mount", archive, root, "--index", os.path.join(place, "index.sqlite")]
    subprocess.run(mount + ["--cache-size", str(budget)] + extra, check=True)
    print(f"archive {decoded / MIB:.0f} MiB decoded, budget {given.budget_mib} MiB, {given.readers} readers,",
          f"{given.minutes:g} min, cache_dir {'%d MiB' % (disk_budget // MIB) if folder else 'none'}", flush=True)
    results = multiprocessing.Queue()
    series = os.path.join(root, "series")
    readers = [
        multiprocessing.Process(
            target=read_for, args=(given.minutes * 60, results, series, truths, volumes, given.seed * 1000 + n))
        for n in range(given.readers)
    ]
    try:
        for reader in readers:
            reader.start()
        next_drop = time.monotonic() + given.drop_caches_s
        while any(reader.is_alive() for reader in readers):
            watch.sample()
            if time.monotonic() > next_drop and os.geteuid() == 0:
                with open("/proc/sys/vm/drop_caches", "w") as control:
                    control.write("1")
                next_drop += given.drop_caches_s
            time.sleep(0.1)
        crashed = sum(reader.exitcode != 0 for reader in readers)
        done = [results.get(timeout=10) for _ in range(given.readers - crashed)]
        stats = watch.stats()
    finally:
        for reader in readers:
            reader.kill()
        subprocess.run(["umount", root], check=True)
    ops, errors, wrong = (sum(row[n] for row in done) for n in range(3))
    over = {"counted": watch.over(watch.counted, budget), "real": watch.over(watch.real, budget)}
    if folder:
        over["disk"] = watch.over(watch.disk, disk_budget)
    print(f"ops {ops}  failed reads {errors}  wrong bytes {wrong}  readers lost {crashed}  samples {watch.samples}")
    print(f"most held: counted {watch.counted / MIB:.0f} MiB, real {watch.real / MIB:.0f} MiB,"
          + f" growth of Shmem {watch.shmem / MIB:.0f} MiB"
          + (f", disk {watch.disk / MIB:.0f} MiB" if folder else "")
          + f"; more than 5 % over for {watch.over_s:.1f} s")
    print("over budget: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in over.items()))
    shown = ["frames_decoded", "opens_passthrough", "opens_cached", "cache_evicted_frames", "decode_failures"]
    shown += [name for name in stats if name.startswith("cache_dir_")] if folder else []
    print("  ".join(f"{name} {stats[name]}" for name in shown))
    if not given.place:
        shutil.rmtree(place)
    sys.exit(errors + wrong + crashed > 0 or max(over.values()) > OVER_MAX)


if __name__ == "__main__":
    main()
