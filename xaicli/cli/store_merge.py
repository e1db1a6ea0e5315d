"""`xaicli store merge`: the shards of a job become its store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaicli.cli.options import Display
from xaicli.cli.output import emit_all
from xaicli.errors import ExistsError, InputError, MissingError, XaicliError
from xaicli.files.record import Record, artifact_record

if TYPE_CHECKING:
    from xaicli.files.merge import MergedRows, Summaries
    from xaicli.files.store import Store

EXAMPLES = """
xaicli store merge maps.h5
xaicli store merge results/ | xaicli evaluate -
for i in 1 2 3; do xaicli explain model.safetensors -m ig --shard $i/3 -o maps.h5; done; xaicli store merge maps.h5
"""
PARTS = ".parts"


def merge(
    places: Annotated[
        list[Path],
        typer.Argument(metavar="OUT.h5|OUT.h5.parts|FOLDER...", help="Unfinished stores, or folders with some."),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace the result of another job.")] = False,
    *,
    display: Display,
) -> int:
    """Join what shards have computed into whole stores; refused (65) while blocks are missing."""
    return emit_all(_merged([path for place in places for path in _stores(place)], force))


def _stores(place: Path) -> list[Path]:
    """The stores that a word on the command line stands for."""
    if place.name.endswith(PARTS):
        return [place.with_name(place.name.removesuffix(PARTS))]
    if not place.is_dir():
        return [place]
    found = sorted(entry.with_name(entry.name.removesuffix(PARTS)) for entry in place.glob(f"*{PARTS}"))
    if not found:
        raise MissingError(f"'{place}' holds no unfinished store (*.h5.parts); name the folder that shards wrote to.")
    return found


def _merged(paths: list[Path], force: bool) -> Iterator[Record]:
    """Merge all that can be, then raise the first error."""
    failure: XaicliError | None = None
    for path in paths:
        try:
            yield from _merge(path, force)
        except (InputError, MissingError, ExistsError) as error:
            failure = failure or error
    if failure is not None:
        raise failure


def _merge(path: Path, force: bool) -> Iterator[Record]:
    from xaicli.files.merge import merge_parts
    from xaicli.files.parts import pending_layout
    from xaicli.files.store import open_store
    from xaicli.files.writer import finished_store

    layout = pending_layout(path)
    if layout is not None and (force or not finished_store(path, layout)):
        merge_parts(path, layout, _summarise if layout.kind == "scores" else None)
    with open_store(path) as store:
        record = _record(store)
        yield record
        if store.kind == "scores":
            from xaicli.evaluate.records import stored_metric_records
            from xaicli.evaluate.told import told

            yield from told(stored_metric_records(store, record))


def _summarise(rows: MergedRows) -> Summaries:
    from xaicli.evaluate.aggregate import summarise_scores

    return summarise_scores(rows)


def _record(store: Store) -> Record:
    """The record that the unsharded command would have printed; parents are named by id alone."""
    import numpy as np

    from xaicli.files.columns import Status

    return artifact_record(
        kind=store.kind,
        path=str(store.path),
        id=store.id,
        verb=str(store.job["verb"]),
        method=str(store.job["method"] or ""),
        options=store.job["options"],
        rows=store.rows,
        failed=int(np.sum(store.column("status") != Status.OK)),
        parents={role: _parent(parent) for role, parent in store.job["parents"].items()},
        metrics=_figures(str(store.job["verb"]))(store),
    )


def _parent(parent: Any) -> Any:
    if isinstance(parent, list):
        return [_parent(one) for one in parent]
    return {"id": parent} if isinstance(parent, str) else parent


def _figures(verb: str) -> Callable[[Store], Mapping[str, Any]]:
    """What the verb's records say of a store."""
    if verb == "attack":
        from xaicli.attack.figures import figures
    elif verb == "explain":
        from xaicli.explain.figures import figures
    elif verb == "generate":
        from xaicli.generate.figures import figures
    else:
        return lambda store: {}
    return figures
