"""What dicomfs makes of a directory: mounts it and reads every volume through the kernel."""

import json
import os
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

try:
    import nibabel
except ImportError:
    nibabel = None


@dataclass
class Mounted:
    """One directory under series/."""

    name: str
    array: np.ndarray | None
    json: dict
    # What the file system said where the array cannot be read.
    error: str = ""
    # volume.nii in the order of volume.npy, with its affine (RAS), where both exist.
    nifti: tuple | None = None

    @property
    def suffix(self):
        return self.name[self.name.index("_") :] if "_" in self.name else ""


@contextmanager
def mount(binary, archive):
    """A mount of the archive, taken down at the end."""
    with tempfile.TemporaryDirectory(prefix="awkward-") as scratch:
        root = Path(scratch) / "mnt"
        root.mkdir()
        index = Path(scratch) / "index.sqlite"
        command = [binary, "mount", archive, root, "--index", index]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"mount failed: {done.stderr.strip()}")
        try:
            yield root
        finally:
            unmount(root)


def unmount(root):
    """Takes a mount down; if someone still holds a file of it, as soon as they let go."""
    way, lazily = (["umount"], "-l") if os.geteuid() == 0 else (["fusermount3", "-u"], "-z")
    if subprocess.run([*way, root], timeout=60).returncode != 0:
        subprocess.run([*way, lazily, root], check=True, timeout=60)


def nifti(folder):
    """The numbers of volume.nii in C order (reversed axes) and its affine; None without one."""
    path = folder / "volume.nii"
    if nibabel is None or not path.exists():
        return None
    # A map of the file would keep the mount busy.
    image = nibabel.load(path, mmap=False)
    data = np.asarray(image.dataobj)
    if data.dtype.names:
        data = np.stack([data[name] for name in data.dtype.names], axis=-1)
        return np.moveaxis(data, -1, 0).T, image.affine
    return data.T, image.affine


def read(binary, archive):
    """Volumes by name, and the codes of findings about files that are in none of them."""
    volumes = []
    with mount(binary, archive) as root:
        for folder in sorted((root / "series").iterdir()):
            about = json.loads((folder / "volume.json").read_text())
            try:
                array, error = np.load(folder / "volume.npy"), ""
            except (OSError, ValueError) as why:
                array, error = None, str(why)
            volumes.append(Mounted(folder.name, array, about, error, nifti(folder)))
        lines = (root / ".dicomfs/findings.jsonl").read_text().splitlines()
    return volumes, {json.loads(line)["code"] for line in lines}
