"""Other readers of the same files, by a script that times them beside np.load of the same array.

The script is called once a round and syntax as `SCRIPT --data DIR --syntax NAME --rounds 1 --extra
VOLUME.NPY --only CASES --json FILE`. It writes a list of {"case", "median_s", "ratio"}, where the ratio
is to np.load (or one slice, or one patch, of a map of it), and says on a line `CASE FAIL why` what it
could not do.
"""

import json
import os
import re
import subprocess
from pathlib import Path

from table.measure import expect
from table.mount import Mount

# Case of the script, and what the table calls it.
CASES = {
    "pydicom_stack": "pydicom, sorted and stacked",
    "sitk_series": "SimpleITK, series reader",
    "monai_pydicom": "MONAI, PydicomReader",
    "monai_itk": "MONAI, ITKReader",
    "highdicom_vol": "highdicom, volume of a series",
    "dcm2niix+nib": "dcm2niix, then nibabel",
    "dicom2nifti+nib": "dicom2nifti, then nibabel",
    "extra_load": "dicomfs, decoded before",
    "slice_npy_mmap": "one slice: map of the plain .npy",
    "slice_pydicom_indexed": "one slice: pydicom, its file known",
    "slice_sitk_indexed": "one slice: SimpleITK, its file known",
    "extra_slice": "one slice: dicomfs, decoded before",
    "patch64_npy_mmap": "64^3 patch: map of the plain .npy",
    "patch64_pydicom_indexed": "64^3 patch: pydicom, its files known",
    "extra_patch64": "64^3 patch: dicomfs, decoded before",
}

PACKAGES = ["pydicom", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "python-gdcm", "SimpleITK", "monai", "highdicom"]
PACKAGES += ["dcm2niix", "dicom2nifti", "nibabel", "numpy"]


class Peers:
    """Whole series, slices and patches as others read them."""

    name = "peers"

    def __init__(self, run):
        self.run, self.data = run, run.data
        self.script, self.python = run.options.peers, run.options.peers_python
        self.rounds_left = run.options.peer_rounds
        if run.options.peers_json:
            self.read_results(Path(run.options.peers_json))
            self.rounds_left = 0
        elif not self.script:
            run.leave_out("peers", "no --peers script was given")
            self.rounds_left = 0
        else:
            run.facts["peer versions"] = self.versions()

    def versions(self):
        """Versions of what is installed beside the script's Python."""
        ask = (
            "import sys, importlib.metadata as m\n"
            "for name in sys.argv[1:]:\n"
            "    try: print(name, m.version(name))\n"
            "    except m.PackageNotFoundError: pass\n"
        )
        done = subprocess.run([self.python, "-c", ask, *PACKAGES], capture_output=True, text=True, timeout=60)
        return ", ".join(done.stdout.split("\n")).strip(", ")

    def round(self):
        if self.rounds_left == 0:
            return
        self.rounds_left -= 1
        for syntax in self.data.syntaxes:
            self.data.read_sources(syntax)
            with Mount(self.run.program, self.data.folder / syntax, self.run.scratch) as mount:
                results = Path(self.run.scratch) / "peers.json"
                results.unlink(missing_ok=True)
                command = [self.python, self.script, "--data", self.data.folder, "--syntax", syntax]
                command += ["--rounds", "1", "--extra", mount.file(), "--json", results, "--only", ",".join(CASES)]
                # Its warm-up reads our volume whole, so that what it times is decoded.
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if not results.exists():
                    why = (done.stderr.strip().splitlines() or ["no result"])[-1]
                    self.run.leave_out("peers", f"{os.path.basename(self.script)}: {why}")
                    self.rounds_left = 0
                    return
                self.take(syntax, json.loads(results.read_text()))
                for case, why in re.findall(r"^(\S+)\s+FAIL (.*)$", done.stdout, re.MULTILINE):
                    if case in CASES:
                        self.run.leave_out(f"{CASES[case]} ({syntax})", why)

    def take(self, syntax, results):
        for row in results:
            case = row["case"]
            if case == "extra_load":
                expect("DIFFERS" not in row.get("note", ""), f"{syntax}, read by {self.script}: {row.get('note')}")
            if case in CASES:
                self.run.samples.add(f"{syntax} peer {case}", row["median_s"])
                self.run.samples.add(f"{syntax} peer {case} ratio", row["ratio"])

    def read_results(self, folder):
        """What an earlier run of the script wrote, a file a syntax."""
        for syntax in self.data.syntaxes:
            file = folder / f"{syntax}.json"
            if file.exists():
                self.take(syntax, json.loads(file.read_text()))
            else:
                self.run.leave_out(f"peers, {syntax}", f"no {file}")
        self.run.facts["peer versions"] = f"not of this run: read from {folder.name}/"
