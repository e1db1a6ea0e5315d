"""A line of the benchmarks' table, and how its seconds are measured: in process time, in pairs, medians."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from xaicli.run.device import keep_freed_memory, steady_sums


@dataclass(frozen=True)
class Line:
    """What is measured, how, and what it has to be; nothing is computed before `measure` is called."""

    what: str
    bar: str
    measure: Callable[[], float]
    unit: str = ""


def print_table(lines: Iterable[Line]) -> None:
    """Measure and print, one line after the other."""
    steady_sums()
    keep_freed_memory()
    torch.set_num_threads(1)
    print(f"{'what':<78} {'figure':>9} {'bar':>8}")
    for line in lines:
        print(f"{line.what:<78} {line.measure():>9.3g} {line.bar:>8} {line.unit}".rstrip(), flush=True)


def ratio(ours: Callable[[], object], other: Callable[[], object], pairs: int) -> float:
    """How many times our seconds the other takes: the median over pairs, the other first in every second one.

    With three or more pairs one of each comes before, which warms the caches.
    """
    if pairs > 2:
        ours(), other()
    ratios = []
    for turn in range(pairs):
        first, second = (ours, other) if turn % 2 else (other, ours)
        times = {first: seconds(first), second: seconds(second)}
        ratios.append(times[other] / times[ours])
    return statistics.median(ratios)


def seconds(function: Callable[[], object]) -> float:
    """Process time of one call."""
    gc.collect()
    start = time.process_time()
    function()
    return time.process_time() - start
