"""The program under test: a mount for as long as a `with` block, its counters and its CPU time."""

import json
import os
import subprocess
import time
from pathlib import Path

DEADLINE_S = 60


def wait_for(condition, what):
    """Returns the first true value of a condition."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.002)
    return value


def family(pid):
    """A process and all that descend from it."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            pids += family(child)
    return pids


def cpu_s(pid):
    """CPU seconds of all threads of a process, user and kernel."""
    process = Path(f"/proc/{pid}")
    try:
        times_ns = [int((task / "schedstat").read_text().split()[0]) for task in (process / "task").iterdir()]
        return sum(times_ns) / 1e9
    except FileNotFoundError:
        # A kernel that does not count in ns: utime and stime, in ticks (proc_pid_stat(5)).
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Mount:
    """An archive, mounted in the foreground by a child of this process."""

    def __init__(self, program, archive, scratch, options=(), volumes=1):
        self.root = Path(scratch) / "mnt"
        self.root.mkdir(exist_ok=True)
        self.log = Path(scratch) / "mount.log"
        # One index for each archive, kept: what is timed is never a scan.
        name = str(Path(archive).absolute()).replace("/", "%")
        index = Path(scratch) / f"index{name}.sqlite"
        self.command = [program, "mount", "-f", archive, self.root, "--index", index, *options]
        self.volumes = volumes
        self.process = None

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        try:
            wait_for(self.is_live, "a mount with all its series")
        except BaseException:
            self.__exit__()
            raise
        return self

    def is_live(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"mount failed: {self.log.read_text(errors='replace').strip()}")
        if not os.path.ismount(self.root) or len(os.listdir(self.root / "series")) < self.volumes:
            return False
        # As `mount` without -f returns: the scan would take its share of what is timed.
        return self.stats()["scan"]["state"] == "done"

    def __exit__(self, *_):
        way, lazily = (["umount"], "-l") if os.geteuid() == 0 else (["fusermount3", "-u"], "-z")
        if os.path.ismount(self.root):
            done = subprocess.run([*way, self.root], capture_output=True, timeout=DEADLINE_S)
            if done.returncode != 0:
                subprocess.run([*way, lazily, self.root], capture_output=True, timeout=DEADLINE_S)
        # The memory it held is given back before anything else is timed.
        try:
            self.process.wait(DEADLINE_S if self.process.returncode is None else 0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def file(self, name="volume.npy", series=None):
        """A file of a series: of the only one, where none is named."""
        if series is None:
            (series,) = os.listdir(self.root / "series")
        return self.root / "series" / series / name

    def stats(self):
        return json.loads((self.root / ".dicomfs/stats.json").read_text())

    def count(self, name):
        """A counter, once nothing moves it any more."""
        before = self.stats()[name]
        while True:
            time.sleep(0.03)
            if (now := self.stats()[name]) == before:
                return now
            before = now

    def cpu_s(self):
        """CPU seconds of all threads of the daemon and its children, user and kernel."""
        return sum(cpu_s(pid) for pid in family(self.process.pid))

    def until_passthrough(self, path):
        """Waits until an open of a decoded file is served by the slab itself; False without root."""
        if os.geteuid() != 0:
            return False

        def opened():
            before = self.stats()["opens_passthrough"]
            os.close(os.open(path, os.O_RDONLY))
            return self.stats()["opens_passthrough"] > before

        return wait_for(opened, "a passthrough open")
