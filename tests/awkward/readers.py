"""What foreign readers make of a directory: a list of arrays with affines, or why there are none."""

import importlib.metadata
import json
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TIMEOUT_S = 120
PEER = Path(__file__).with_name("peer.py")


@dataclass
class Volume:
    """An array over (..., k, j, i[, channels]) and the affine from (i, j, k) to LPS mm."""

    array: np.ndarray
    affine: np.ndarray
    has_channels: bool


def plain(text):
    """One line without paths and addresses, which differ from run to run."""
    text = re.sub(r"/\S*/", "", text)
    text = re.sub(r"\(0x[0-9a-f]+\)", "", text)
    return " ".join(text.split())[:120]


class Worker:
    """A reader in a process of its own, started again when it crashes or hangs."""

    def __init__(self, name, version):
        self.name, self.version = name, version
        self.process = None
        self.scratch = tempfile.TemporaryDirectory(prefix="awkward-peer-")

    def start(self):
        with open(Path(self.scratch.name) / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, PEER, self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def read(self, folder):
        """Volumes, why there are not more of them, and what the reader warned of."""
        if self.process is None:
            self.start()
        log = Path(self.scratch.name) / "log"
        before = log.stat().st_size
        out = Path(self.scratch.name) / "out.npz"
        try:
            self.process.stdin.write(json.dumps({"dir": str(folder), "out": str(out)}) + "\n")
            self.process.stdin.flush()
            with selectors.DefaultSelector() as ready:
                ready.register(self.process.stdout, selectors.EVENT_READ)
                if not ready.select(TIMEOUT_S):
                    self.stop()
                    return [], f"no answer in {TIMEOUT_S} s", False
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            self.stop()
            return [], f"crashed (exit status {code})", False
        reply = json.loads(line)
        with open(log, "rb") as text:
            text.seek(before)
            printed = text.read().decode(errors="replace")
        warned = reply["warned"] or "WARNING: In " in printed
        volumes = []
        if reply["count"]:
            with np.load(out) as held:
                for n in range(reply["count"]):
                    parts = (held[f"{what}{n}"] for what in ("array", "affine", "channels"))
                    array, affine, channels = parts
                    volumes.append(Volume(array, affine, bool(channels)))
        return volumes, plain(reply["error"]), warned


class Dcm2niix:
    """The program, then nibabel on what it wrote."""

    name = "dcm2niix"

    def __init__(self, program):
        self.program = program
        lines = subprocess.run([program, "-v"], capture_output=True, text=True).stdout.split()
        self.version = lines[-1] if lines else "?"

    def stop(self):
        pass

    def read(self, folder):
        import nibabel

        with tempfile.TemporaryDirectory(prefix="awkward-dcm2niix-") as out:
            command = [self.program, "-z", "n", "-b", "n", "-f", "%s_%d", "-o", out, folder]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return [], f"no answer in {TIMEOUT_S} s", False
            lines = (done.stdout + done.stderr).splitlines()
            # It says of every file whose maker it does not know that it does not.
            told = [line for line in lines if "arning" in line and "manufacturer" not in line]
            failed = [line for line in lines if "Error" in line]
            error = (failed + told + [f"status {done.returncode}"])[0]
            files = sorted(Path(out).glob("*.nii"))
            # Beside the plain file it may write resampled ones, named as such.
            files = [path for path in files if not re.search(r"_(Eq|Tilt)(_\d+)?$", path.stem)]
            return [self.volume(nibabel.load(path)) for path in files], plain(error), bool(told)

    @staticmethod
    def volume(image):
        data = np.asarray(image.dataobj)
        colours = data.dtype.names
        array = np.stack([data[c].T for c in colours], axis=-1) if colours else data.T
        return Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine, bool(colours))


def version(*packages):
    try:
        return ", ".join(importlib.metadata.version(package) for package in packages)
    except importlib.metadata.PackageNotFoundError:
        return None


def available():
    """The readers of this Python environment, and those that are not there with what is missing."""
    found, absent = [], []
    wanted = [
        ("SimpleITK", ("SimpleITK",)),
        ("MONAI (ITK)", ("monai", "itk")),
        ("MONAI (pydicom)", ("monai", "pydicom")),
    ]
    for name, packages in wanted:
        numbers = version(*packages)
        if numbers is None:
            absent.append(f"{name}: needs {' and '.join(packages)}")
        else:
            found.append(Worker(name, numbers))
    beside = Path(sys.executable).with_name("dcm2niix")
    program = str(beside) if beside.exists() else shutil.which("dcm2niix")
    if program and version("nibabel"):
        found.append(Dcm2niix(program))
    else:
        absent.append("dcm2niix: needs dcm2niix and nibabel")
    return found, absent
