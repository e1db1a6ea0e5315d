"""From planned jobs to published stores: places, what is already finished, the block loop, the merge, the records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from xaicli.errors import StoppedError, UsageError
from xaicli.files.artifact import Artifact
from xaicli.files.columns import Status
from xaicli.files.layout import StoreLayout
from xaicli.files.merge import Summarise
from xaicli.files.parts import finished_blocks
from xaicli.files.record import Record, artifact_record, plain_record
from xaicli.files.store import Store, open_store
from xaicli.files.writer import SEGMENT_BYTES, StoreWriter
from xaicli.run.blocks import Output, Result, run_blocks
from xaicli.run.inputs import Inputs, Rows
from xaicli.run.job import Job
from xaicli.run.outputs import Named, finished, place
from xaicli.run.progress import say
from xaicli.run.settings import Settings
from xaicli.run.stop import STOP

Compute = Callable[[Rows, Sequence[int]], Mapping[int, Result]]
Metrics = Callable[[Store], Mapping[str, Any]]


@dataclass(frozen=True)
class Planned:
    """One store to be made."""

    job: Job
    name: str  # default file name without job id and extension
    layout: StoreLayout
    forwards: int  # per row
    parents: Mapping[str, Any]  # as the record shows them
    summarise: Summarise | None = None
    metrics: Metrics = field(default=lambda store: {})


@dataclass(frozen=True)
class Group:
    """Stores that are made together from the same rows."""

    inputs: Inputs
    planned: Sequence[Planned]
    prepare: Callable[[], Compute]  # loads the model; not called when nothing is left to do
    text: str


def produce(groups: Sequence[Group], settings: Settings) -> Iterator[Record]:
    """Make every store that is not finished yet and yield all records, in the order planned."""
    everything = [planned for group in groups for planned in group.planned]
    paths = place([Named(planned.job, planned.name) for planned in everything], settings)
    if len(set(paths)) < len(paths):
        raise UsageError("two of the results would be the same file; leave the repeated method or source out.")
    taken = [finished(path, planned.job, settings) for planned, path in zip(everything, paths, strict=True)]
    if settings.dry_run:
        for planned, path, artifact in zip(everything, paths, taken, strict=True):
            yield _forecast(planned, path, 0 if artifact else _blocks_left(planned, path, settings))
        return
    for group in groups:
        start = next(i for i, planned in enumerate(everything) if planned is group.planned[0])
        here = slice(start, start + len(group.planned))
        yield from _make(group, paths[here], taken[here], settings)


def _make(
    group: Group, paths: Sequence[Path], taken: Sequence[Artifact | None], settings: Settings
) -> Iterator[Record]:
    todo = [number for number, artifact in enumerate(taken) if artifact is None]
    writers = {n: _writer(group.planned[n], paths[n], len(todo), settings) for n in todo}
    if todo:
        try:
            _compute(group, writers, settings)
        except StoppedError:
            left = sum(_blocks_left(group.planned[n], paths[n], settings) for n in todo)
            raise STOP.error(f"{left} blocks are left, the finished ones are saved") from None
    if not settings.shard.is_whole:
        say(f"{group.text}: shard {settings.shard} is done; `xaicli store merge` when all are.")
        return
    for number, planned in enumerate(group.planned):
        with STOP.shielded():
            store = writers[number].finish(planned.summarise) if number in writers else open_store(paths[number])
        with store:
            record = _record(planned, store, paths[number])
        yield record


def _writer(planned: Planned, path: Path, together: int, settings: Settings) -> StoreWriter:
    layout, shard = replace(planned.layout, compress=settings.compress), settings.shard
    own = None if shard.is_whole else [block for block in range(layout.blocks) if shard.owns(block)]
    return StoreWriter(path, layout, force=settings.force, own=own, segment_bytes=SEGMENT_BYTES // together)


def _compute(group: Group, writers: Mapping[int, StoreWriter], settings: Settings) -> None:
    todo = list(writers)
    with ExitStack() as saved:  # blocks that are done are kept even when a later one fails
        for writer in writers.values():
            saved.enter_context(writer)
        outputs = [Output(writers[number], group.planned[number].layout.block, settings.shard) for number in todo]
        if not any(output.wants(row) for output in outputs for row in range(0, len(group.inputs), output.block)):
            return
        compute = group.prepare()

        def answer(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            results = compute(rows, [todo[number] for number in wanted])
            return {number: results[todo[number]] for number in wanted}

        run_blocks(group.inputs, outputs, answer, group.text)


def _blocks_left(planned: Planned, path: Path, settings: Settings) -> int:
    done = finished_blocks(path, planned.layout)
    return sum(settings.shard.owns(block) and block not in done for block in range(planned.layout.blocks))


def _record(planned: Planned, store: Store, path: Path) -> Record:
    status = store.column("status")
    document = planned.job.document
    return artifact_record(
        kind=store.kind,
        path=str(path),
        id=store.id,
        verb=str(document["verb"]),
        method=str(document["method"] or ""),
        options=document["options"],
        rows=store.rows,
        failed=int(np.sum(status != Status.OK)),
        parents=planned.parents,
        metrics=planned.metrics(store),
    )


def _forecast(planned: Planned, path: Path, left: int) -> Record:
    layout = planned.layout
    size = layout.rows * sum(column.row_bytes for column in layout.columns)
    return plain_record(
        "info",
        path=str(path),
        method=str(planned.job.document["method"] or ""),
        rows=layout.rows,
        blocks=layout.blocks,
        blocks_left=left,
        forwards=layout.rows * planned.forwards,
        bytes=size,
    )
