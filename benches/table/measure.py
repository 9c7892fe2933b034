"""Timing, medians, and readers in processes of their own."""

import contextlib
import math
import multiprocessing
import os
import statistics
import threading
import time
from pathlib import Path

import numpy as np

FORK = multiprocessing.get_context("fork")


class Wrong(Exception):
    """Something read is not the truth."""


def expect(right, what):
    if not right:
        raise Wrong(what)


def timed(work, *arguments):
    """What it gave, and in how many seconds."""
    start = time.perf_counter()
    result = work(*arguments)
    return result, time.perf_counter() - start


def seconds(work, *arguments):
    """How long it took; the result is freed outside the time."""
    result, took = timed(work, *arguments)
    del result
    return took


class Samples:
    """Figures by name, one a round."""

    def __init__(self):
        self.by_name = {}

    def add(self, name, value):
        self.by_name.setdefault(name, []).append(value)

    def has(self, *names):
        return all(name in self.by_name for name in names)

    def median(self, name):
        return statistics.median(self.by_name[name])

    def max(self, name):
        return max(self.by_name[name])

    def ratio(self, name, other):
        """Median over rounds of one figure as a multiple of another of the same round; not a number
        where that was too short to be measured."""
        pairs = zip(self.by_name[name], self.by_name[other], strict=True)
        return statistics.median(a / b if b else math.nan for a, b in pairs)

    def above(self, name, other):
        """Median over rounds of what one figure has more than another of the same round."""
        pairs = zip(self.by_name[name], self.by_name[other], strict=True)
        return statistics.median(a - b for a, b in pairs)


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Readers:
    """Processes that read a file whole at the same moment, and then compare what they got."""

    def __init__(self, count, path, truth):
        self.barrier = FORK.Barrier(count + 1)
        self.results = FORK.SimpleQueue()
        self.processes = [FORK.Process(target=self._read, args=(path, truth), daemon=True) for _ in range(count)]
        for process in self.processes:
            process.start()

    def _read(self, path, truth):
        try:
            self.barrier.wait()
            start = time.perf_counter()
            array = np.load(path)
            end = time.perf_counter()
            # Nobody compares while others still read.
            self.barrier.wait()
            same = array.shape == truth.shape and np.array_equal(array, truth)
            self.results.put((start, end, "" if same else "other values than the truth"))
        except Exception as why:
            self.barrier.abort()
            self.results.put((0, 0, repr(why)))

    def go(self):
        self.barrier.wait()

    def all_have_read(self):
        """True once all readers wait for each other."""
        return self.barrier.broken or self.barrier.n_waiting >= len(self.processes)

    def finish(self):
        """Seconds from the first start to the last end."""
        with contextlib.suppress(threading.BrokenBarrierError):
            self.barrier.wait()
        results = [self.results.get() for _ in self.processes]
        for process in self.processes:
            process.join()
        for _, _, problem in results:
            expect(not problem, f"a reader of {len(results)} got {problem}")
        return max(end for _, end, _ in results) - min(start for start, _, _ in results)


def proc(path, key, default="unknown"):
    """The value of a line `key : value` in a file of /proc."""
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return default


def cores():
    return len(os.sched_getaffinity(0))
