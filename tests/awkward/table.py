#!/usr/bin/env python3
"""Writes awkward series, and shows what dicomfs and other readers make of each in the same run.

    python tests/awkward/table.py [--dicomfs PROGRAM] [--only dicomfs] [--case NAME ...] [--keep DIR] [--list]

Needs numpy and pydicom; each of SimpleITK, monai, itk, nibabel and dcm2niix adds a reader. The exit
status is 1 if dicomfs is not right on every case.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import exact
import mounted
import readers
from cases import CASES
from compare import Verdict, compare

ROOT = Path(__file__).resolve().parents[2]
OURS = "dicomfs"


def ours(program, truth, folder):
    """dicomfs' verdict: right, or all that is wrong."""
    try:
        volumes, codes = mounted.read(program, folder)
    except (RuntimeError, OSError, subprocess.SubprocessError) as why:
        return Verdict("refused", str(why))
    problems = exact.problems(truth, volumes, codes)
    return Verdict("wrong", "; ".join(problems)) if problems else Verdict("right")


def theirs(reader, truth, folder):
    volumes, error, warned = reader.read(folder)
    verdict = compare(truth, volumes, error)
    if warned and not verdict.is_right and verdict.kind != "refused":
        verdict.detail += " (it warns)"
    return verdict


def run(program, cases, peers, folder):
    """Verdicts by case, in the order of the readers."""
    rows = []
    for case in cases:
        place = folder / case.name
        truth = case.write(place)
        verdicts = [ours(program, truth, place)]
        verdicts += [theirs(peer, truth, place) for peer in peers]
        rows.append((case, verdicts))
        mark = "right" if verdicts[0].is_right else f"NOT RIGHT: {verdicts[0].detail}"
        print(f"{case.name}: {mark}", file=sys.stderr, flush=True)
    return rows


def cell(verdict):
    if verdict.is_right:
        return "right"
    kind = {"refused": "refused"}.get(verdict.kind, f"**{verdict.kind}**")
    detail = verdict.detail.replace("|", "/").replace("\n", " ")
    return f"{kind}: {detail}" if detail else kind


def markdown(names, versions, rows):
    """The table with its totals."""
    yield "| case | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    for case, verdicts in rows:
        cells = " | ".join(cell(verdict) for verdict in verdicts)
        yield f"| {case.name}: {case.why} | {cells} |"
    kinds = ("right", "refused", "wrong")
    columns = list(zip(*(verdicts for _, verdicts in rows)))
    totals = []
    for column in columns:
        right = sum(verdict.is_right for verdict in column)
        refused = sum(verdict.kind == "refused" for verdict in column)
        counts = (right, refused, len(column) - right - refused)
        totals.append(", ".join(f"{n} {kind}" for n, kind in zip(counts, kinds) if n))
    yield f"| **{len(rows)} cases** | " + " | ".join(totals) + " |"
    yield ""
    yield "Versions: " + "; ".join(f"{n} {v}" for n, v in zip(names, versions)) + "."


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dicomfs", default=str(ROOT / "target/release/dicomfs"))
    parser.add_argument("--only", choices=[OURS], help="leave the other readers out")
    parser.add_argument("--case", nargs="+", help="these cases alone")
    parser.add_argument("--list", action="store_true", help="name the cases and their clauses")
    parser.add_argument("--keep", type=Path, help="write the archives here and keep them")
    return parser.parse_args()


def main():
    args = arguments()
    cases = [case for case in CASES if not args.case or case.name in args.case]
    unknown = set(args.case or ()) - {case.name for case in cases}
    if unknown or not cases:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    if args.list:
        for case in cases:
            print(f"{case.name}: {case.why} [{case.clause}]")
        return 0
    peers, absent = ([], []) if args.only else readers.available()
    said = subprocess.run([args.dicomfs, "--version"], capture_output=True, text=True, check=True)
    names = [OURS] + [peer.name for peer in peers]
    versions = [said.stdout.split()[-1]] + [peer.version for peer in peers]
    with tempfile.TemporaryDirectory(prefix="awkward-cases-") as scratch:
        try:
            rows = run(args.dicomfs, cases, peers, args.keep or Path(scratch))
        finally:
            for peer in peers:
                peer.stop()
    print("\n".join(markdown(names, versions, rows)))
    for line in absent:
        print(f"Not run: {line}.")
    wrong = [case.name for case, verdicts in rows if not verdicts[0].is_right]
    print(f"{OURS}: {len(rows) - len(wrong)} of {len(rows)} right", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
