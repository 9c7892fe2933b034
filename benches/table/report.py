"""The table: figures to Markdown, with what they were measured on."""

import datetime
import math
import os
import platform
import subprocess
from pathlib import Path

import numpy as np

from table.cold import READERS
from table.measure import cores, proc
from table.peers import CASES
from table.warm import FORMATS, PREADS

ROOT = Path(__file__).resolve().parents[2]


def figure(value):
    """Three digits, or all before the point."""
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def duration(value_s):
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if value_s * factor >= 1:
            return f"{figure(value_s * factor)} {unit}"
    return f"{figure(value_s * 1e6)} us"


def times(ratio):
    if math.isnan(ratio):
        return "-"
    return f"{ratio:.2f}x" if ratio < 10 else f"{figure(ratio)}x"


def lines_of(header, rows):
    yield "| " + " | ".join(header) + " |"
    yield "|---" * len(header) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def file_system(path):
    """Type of the file system that holds a path."""
    best = ("", "unknown")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place = before.split()[4]
        if Path(path).is_relative_to(place) and len(place) >= len(best[0]):
            best = (place, after.split()[0])
    return best[1]


def commit():
    def git(*words):
        done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def about(run):
    """Machine, versions, commit and date."""
    data = run.data
    memory = int(proc("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    version = subprocess.run([run.program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    shape = " x ".join(str(length) for length in data.shape)
    yield f"One series of {shape} {data.dtype.str}, {data.bytes / 1e6:.1f} MB decoded. Median of {run.rounds} rounds;"
    yield "every round runs every case once, and every ratio is between figures of one round."
    yield ""
    yield f"- Machine: {proc('/proc/cpuinfo', 'model name')}, {cores()} cores, {memory:.0f} GiB;"
    yield f"  load at the start {run.load:.2f}"
    yield f"- System: Linux {platform.release()}, {'root' if os.geteuid() == 0 else 'not root'};"
    yield f"  plain files on {file_system(run.scratch)}, sources on {file_system(data.folder)}, both in the page cache"
    yield f"- {version}, commit {commit()}; Python {platform.python_version()}, NumPy {np.__version__}"
    if "peer versions" in run.facts:
        yield f"- Peers: {run.facts['peer versions']}"
    yield f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    yield ""


def warm(run):
    samples = run.samples
    if not samples.has("warm npy whole ours"):
        return
    opened = run.facts["opened by"]
    yield "Decoded before; as a multiple of the same from a plain .npy:"
    yield ""
    rows = []
    names = {"whole": "whole (`np.load`, `np.fromfile`)", "scan": "`.max()` of a map"}
    names |= {size: f"pread of {size}, p50" for size in PREADS}
    for what, name in names.items():
        row = [name, duration(samples.median(f"warm npy {what} plain"))]
        for form in FORMATS:
            ours, plain = (f"warm {form} {what} {who}" for who in ("ours", "plain"))
            row.append(f"{times(samples.ratio(ours, plain))} ({duration(samples.median(ours))})")
        rows.append(row)
    yield from lines_of(["", "plain .npy", *(f"volume.{form}, {opened[form]}" for form in FORMATS)], rows)
    huge = samples.median("warm huge pages")
    yield f"Of the slab, {huge:.0%} was in huge pages (it needs free ones when it is filled)."
    yield ""


def by_syntax(run, name, cell):
    """A row of the table of first reads; None where nothing was measured."""
    cells = [cell(syntax) for syntax in run.data.syntaxes]
    return [name, *cells] if any(cells) else None


def cold(run):
    samples = run.samples

    def over(name, base):
        def cell(syntax):
            of, to = f"{syntax} {name}", base.format(syntax)
            return times(samples.ratio(of, to)) if samples.has(of, to) else ""

        return cell

    def time(name):
        return lambda syntax: duration(samples.median(f"{syntax} {name}")) if samples.has(f"{syntax} {name}") else ""

    def touched(name):
        def cell(syntax):
            if not samples.has(f"{syntax} {name}"):
                return ""
            frames = samples.max(f"{syntax} {name} frames")
            return f"{duration(samples.median(f'{syntax} {name}'))}, {frames} decoded"

        return cell

    def more(name):
        def cell(syntax):
            of, one = f"{syntax} {name}", f"{syntax} decode one"
            return f"{samples.above(of, one) * 1e3:.2f} ms" if samples.has(of, one) else ""

        return cell

    def against_one(syntax):
        one, many = (f"{syntax} {count} readers" for count in (1, READERS))
        if not samples.has(one, many):
            return ""
        frames = samples.max(f"{many} frames")
        return f"{times(samples.ratio(many, one))} ({duration(samples.median(many))}), {frames} decoded"

    rows = [
        by_syntax(run, "`np.load`", time("load")),
        by_syntax(run, "... to `np.load` of the plain file", over("load", "{} plain")),
        by_syntax(run, "one thread's decode time, all frames", time("decode")),
        by_syntax(run, "`np.load` to decode time / cores", over("load", "{} decode/cores")),
        by_syntax(run, "`np.load` to (decode + moving the bytes) / cores", over("load", "{} floor")),
        by_syntax(run, "one frame's decode time", time("decode one")),
        by_syntax(run, "one slice, by a map", touched("slice map")),
        by_syntax(run, "... more than one frame's decode time", more("slice map")),
        by_syntax(run, "one slice, by seek and read", touched("slice read")),
        by_syntax(run, "... more than one frame's decode time", more("slice read")),
        by_syntax(run, "a 64^3 patch, by a map", touched("patch")),
        by_syntax(run, "... to 64 frames' decode time / cores", over("patch", "{} decode 64/cores")),
        by_syntax(run, f"{READERS} processes at once, to one", against_one),
        by_syntax(run, f"... to {READERS} with the plain file", over(f"{READERS} readers", f"plain {READERS} readers")),
    ]
    rows = [row for row in rows if row]
    if rows:
        yield "Nothing decoded yet, source files in the page cache:"
        yield ""
        yield from lines_of(["", *run.data.syntaxes], rows)
    if samples.has("transport CPU"):
        cpu, clock = (duration(samples.median(name)) for name in ("transport CPU", "transport"))
        yield f"Moving the bytes of frames that are decoded: {cpu} of CPU in reader and daemon together, {clock}"
        yield "by the clock."
        yield ""
    if samples.has(f"plain {READERS} readers"):
        yield f"{READERS} processes load the plain file in {duration(samples.median(f'plain {READERS} readers'))}."
        yield ""


def busy(run):
    samples = run.samples
    if not samples.has("busy stat ours 0.5"):
        return
    yield f"While {READERS} processes load a cold {run.data.slowest} volume ({run.facts['probes']} files,"
    yield "each asked for the first time; max of all rounds):"
    yield ""
    rows = []
    for call in ("stat", "open"):
        for who, name in (("ours", "dicomfs"), ("local", "the local file system")):
            key = f"busy {call} {who}"
            parts = [samples.median(f"{key} 0.5"), samples.median(f"{key} 0.99"), samples.max(f"{key} 1")]
            rows.append([f"{call}, {name}", *(f"{value * 1e3:.3f}" for value in parts)])
    yield from lines_of(["ms", "p50", "p99", "max"], rows)


# Figures of our own sections beside those of others: figure, the plain one, name, where it goes.
FIRST_TIME = [
    ("load", "{} plain", "dicomfs, first time", "extra_load"),
    ("slice map", "plain slice map", "one slice: dicomfs, first time", "extra_slice"),
    ("patch", "plain patch", "64^3 patch: dicomfs, first time", "extra_patch64"),
]


def first_time(samples, syntax, ours, plain):
    ratio = samples.ratio(f"{syntax} {ours}", plain.format(syntax))
    return f"{times(ratio)} ({duration(samples.median(f'{syntax} {ours}'))})"


def peers(run):
    samples = run.samples

    def cell(syntax, case):
        key = f"{syntax} peer {case}"
        if not samples.has(key):
            return "-"
        return f"{times(samples.median(key + ' ratio'))} ({duration(samples.median(key))})"

    rows = [[name, *(cell(syntax, case) for syntax in run.data.syntaxes)] for case, name in CASES.items()]
    rows = [row for row in rows if any(cell != "-" for cell in row[1:])]
    if not rows:
        return
    for ours, plain, name, before in FIRST_TIME:
        if samples.has(*(f"{syntax} {ours}" for syntax in run.data.syntaxes)):
            at = next((n for n, row in enumerate(rows) if row[0] == CASES[before]), len(rows))
            rows.insert(at, [name, *(first_time(samples, syntax, ours, plain) for syntax in run.data.syntaxes)])
    yield "Others on the same files, warm; as a multiple of the same from a plain .npy:"
    yield ""
    yield from lines_of(["", *run.data.syntaxes], rows)


def floors(run):
    samples, data = run.samples, run.data
    if not samples.has("copy"):
        return
    yield "What this machine does at best, one thread:"
    yield ""
    names = {
        "copy": "copy in memory",
        "copy to new memory": "copy to memory that has to be made",
        "read of plain": "read of the plain file into memory there is",
        "np.load of plain": "`np.load` of the plain file",
    }
    rows = []
    for key, name in names.items():
        took = samples.median(key)
        rows.append([name, duration(took), f"{data.bytes / took / 1e9:.1f} GB/s"])
    for syntax in data.syntaxes:
        took, read_bytes = samples.median(f"{syntax} sources"), run.facts[f"{syntax} bytes"]
        rows.append([f"open and read of all {syntax} files", duration(took), f"{read_bytes / took / 1e9:.1f} GB/s"])
    yield from lines_of(["", "time", "rate"], rows)


def remarks(run):
    for what, why in run.left_out.items():
        yield f"- Left out: {what}: {why}"
    for warning in run.warnings:
        yield f"- Warning: {warning}"


def markdown(run):
    parts = [part(run) for part in (about, warm, cold, busy, peers, floors, remarks)]
    return "\n".join(line for part in parts for line in part) + "\n"
