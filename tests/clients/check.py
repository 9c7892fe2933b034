"""Every client over every volume of a mount: `check.py MOUNT [ARCHIVE [MODULE ...]]`.

One line a client; exit status 1 when a client saw other numbers or other world coordinates, or
refused without a reason in its table.
"""

import importlib
import importlib.metadata
import sys
import time
from pathlib import Path

from common import all_volumes

MODULES = [
    "read_numpy",
    "read_stdlib",
    "read_torch",
    "read_monai",
    "read_simpleitk",
    "read_nibabel",
    "read_zarr",
    "read_tensorstore",
    "read_partly",
    "read_pynrrd",
    "read_imageio",
    "read_duckdb",
]

PACKAGES = "numpy torch monai SimpleITK nibabel zarr tensorstore pynrrd imageio duckdb".split()


def main(mount, modules):
    print("Python", sys.version.split()[0], *(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES))
    volumes = all_volumes(mount)
    damaged = sum(volume.is_damaged for volume in volumes)
    print(f"{len(volumes)} volumes, {damaged} of them with frames that cannot be decoded")
    failures = []
    for module in modules or MODULES:
        started = time.monotonic()
        for tally in importlib.import_module(module).run(mount, volumes):
            print(tally.line(), flush=True)
            failures += tally.failures
        print(f"    {module}: {time.monotonic() - started:.1f} s", flush=True)
    print(*failures, sep="\n")
    return 1 if failures or not volumes else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[3:]))
