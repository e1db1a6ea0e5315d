"""The one block loop: every row of every store goes through it.

Block b of a job is rows [b*B, (b+1)*B). Jobs that run together may have different block sizes; all are powers of two,
so the loop works in units of the smallest and hands each job its block when it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from xaicli.errors import UsageError
from xaicli.files.columns import Status
from xaicli.files.writer import StoreWriter
from xaicli.run.inputs import Inputs, Rows
from xaicli.run.progress import Progress
from xaicli.run.shard import Shard
from xaicli.run.stop import STOP

MAX_BLOCK = 256
MAX_FORWARDS = 4096

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Result:
    """What one job has to say about some rows: columns, and curves [n, points] of which only the mean is kept."""

    columns: Columns
    curves: dict[str, npt.NDArray[np.floating[Any]]] = field(default_factory=dict)


@dataclass
class Output:
    """One store under construction, with the results of a block that is not complete yet."""

    writer: StoreWriter
    block: int
    shard: Shard = field(default_factory=Shard)
    waiting: list[Result] = field(default_factory=list)

    def wants(self, row: int) -> bool:
        """Whether the block of this row is still missing, and this process's to compute."""
        block = row // self.block
        return self.shard.owns(block) and block not in self.writer.done

    def take(self, rows: Rows, start: int, stop: int, total: int, result: Result) -> None:
        """Add a unit's result; write the block when the unit completes it."""
        columns = _with_identity(rows, result.columns)
        failed = columns["status"] != Status.OK
        curves = {name: np.where(failed[:, None], np.nan, curve) for name, curve in result.curves.items()}
        self.waiting.append(Result(columns, curves))
        if stop % self.block and stop != total:
            return
        columns = {k: np.concatenate([w.columns[k] for w in self.waiting]) for k in self.waiting[0].columns}
        curves = {k: np.concatenate([w.curves[k] for w in self.waiting]) for k in self.waiting[0].curves}
        sums = {name: _sum_of(curve) for name, curve in curves.items()}
        self.writer.write(start // self.block, columns, sums)
        self.waiting.clear()


def auto_block(forwards_per_row: int, asked: int | None) -> int:
    """The largest power of two up to 256 with block x planned forwards per row at most 4,096, at least 1."""
    if asked is not None:
        if asked < 1 or asked & (asked - 1):
            raise UsageError(f"--block {asked} is not a power of two; use 1, 2, 4, ... or auto.")
        return asked
    block = MAX_BLOCK
    while block > 1 and block * forwards_per_row > MAX_FORWARDS:
        block //= 2
    return block


def run_blocks(
    inputs: Inputs,
    outputs: Sequence[Output],
    compute: Callable[[Rows, Sequence[int]], Mapping[int, Result]],
    text: str,
) -> None:
    """Work through all rows; `compute(rows, wanted)` answers for the outputs whose numbers are in `wanted`.

    Raises StoppedError between two units when a stop is wished; see run/stop.py.
    """
    total, unit = len(inputs), min(output.block for output in outputs)
    with Progress(text, total) as progress, STOP.shielded():
        for start in range(0, total, unit):
            stop = min(start + unit, total)
            wanted = [number for number, output in enumerate(outputs) if output.wants(start)]
            if wanted:
                STOP.check()
                with STOP.working():
                    rows = inputs.load(start, stop)
                    results = compute(rows, wanted)
                for number, result in results.items():
                    outputs[number].take(rows, start, stop, total, result)
            progress.advance(stop - start)


def _sum_of(curve: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Sum of the finite rows of one whole block (never of parts: its bits are the block's own), and their count."""
    finite = curve[np.isfinite(curve).all(axis=1)].astype(np.float64)
    return np.append(finite.sum(axis=0), float(len(finite)))


def _with_identity(rows: Rows, columns: Columns) -> Columns:
    """Add the identifying columns; a row that is not ok loses its numbers."""
    whole = {**rows.columns(), **columns}
    status = np.where(rows.status != Status.OK, rows.status, whole["status"])
    whole["status"] = status
    failed = status != Status.OK
    if failed.any():
        for name, values in columns.items():
            if name != "status" and np.issubdtype(values.dtype, np.floating):
                whole[name] = np.where(failed.reshape(-1, *[1] * (values.ndim - 1)), np.float32(np.nan), values)
    return whole
