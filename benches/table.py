#!/usr/bin/env python3
"""Speed of a mount beside a plain .npy file, the floors of the machine and other readers: one Markdown table.

    python benches/table.py --data DIR [--rounds 5] [--only warm,cold,...] [--peers SCRIPT --peers-python PYTHON]
    python benches/table.py --quick

DIR holds one CT series in directories named after transfer syntaxes (explicit, rle, jpegll, jpegls, j2k), with
truth.npy and truth.json (see table/archive.py). Needs NumPy, and a machine that can mount; other readers only where
--peers names a script that times them (table/peers.py says how it is called). Every round runs every case once, so
that ratios are between figures of the same minutes. Everything read is compared with the truth, and one wrong byte
ends the run. --quick writes a small series itself, runs one round and checks that all of it works: its times mean
nothing.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from table import report
from table.archive import SYNTAXES, Data, write_small
from table.cold import Busy, Cold, Many, Touch
from table.measure import Samples, Wrong
from table.peers import Peers
from table.warm import Floors, Warm

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = [Floors, Warm, Cold, Touch, Many, Busy, Peers]

# Above this many runnable processes at the start, times say more of the others than of us.
LOAD_MAX = 0.5


class Run:
    """One run: what was asked for, what is read, and what was found."""

    def __init__(self, options, data, scratch):
        self.options, self.data, self.scratch = options, data, Path(scratch)
        self.program = Path(options.program).resolve()
        self.quick, self.rounds = options.quick, options.rounds
        self.samples, self.facts = Samples(), {}
        self.left_out, self.warnings = {}, []
        self.load = os.getloadavg()[0]
        if self.load > LOAD_MAX:
            self.warn(f"load {self.load:.2f} at the start: other work disturbs these figures")

    def warn(self, text):
        if text not in self.warnings:
            self.warnings.append(text)
            print(f"table: warning: {text}", file=sys.stderr, flush=True)

    def leave_out(self, what, why):
        if self.left_out.setdefault(what, why) is why:
            print(f"table: left out: {what}: {why}", file=sys.stderr, flush=True)

    def measure(self):
        asked = self.options.only.split(",") if self.options.only else [section.name for section in SECTIONS]
        unknown = set(asked) - {section.name for section in SECTIONS}
        if unknown:
            raise ValueError(f"no section {', '.join(sorted(unknown))}")
        sections = [section(self) for section in SECTIONS if section.name in asked]
        for number in range(self.rounds):
            for section in sections:
                print(f"table: round {number + 1} of {self.rounds}: {section.name}", file=sys.stderr, flush=True)
                section.round()


def parse():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", help="folder with the series and its truth")
    arguments.add_argument("--program", default=ROOT / "target/release/dicomfs")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--only", help="sections, comma-separated: " + ",".join(s.name for s in SECTIONS))
    arguments.add_argument("--syntaxes", default=",".join(SYNTAXES), help="those of them to read")
    arguments.add_argument("--quick", action="store_true", help="a small series of its own, one round")
    arguments.add_argument("--scratch", help="where temporary files go: a file system to compare with")
    arguments.add_argument("--peers", help="script that times other readers")
    arguments.add_argument("--peers-python", default=sys.executable, help="the Python they are installed for")
    arguments.add_argument("--peer-rounds", type=int, default=3, help="rounds in which they are run")
    arguments.add_argument("--peers-json", help="folder with their results by syntax, instead of running them")
    arguments.add_argument("--json", help="file for all figures of all rounds")
    options = arguments.parse_args()
    if options.quick:
        options.rounds = 1
    elif not options.data:
        arguments.error("--data or --quick is needed")
    if options.rounds < 1:
        arguments.error("--rounds takes 1 or more")
    return options


def main():
    options = parse()
    # A run that is told to stop unmounts first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="dicomfs-table-", dir=options.scratch) as scratch:
        folder = options.data
        if options.quick:
            folder = Path(scratch) / "data"
            write_small(folder)
        data = Data(folder, scratch, options.syntaxes.split(","))
        run = Run(options, data, scratch)
        try:
            run.measure()
        except Wrong as why:
            sys.exit(f"table: WRONG: {why}")
        print(report.markdown(run))
        if options.json:
            Path(options.json).write_text(json.dumps(run.samples.by_name, indent=1))


if __name__ == "__main__":
    main()
