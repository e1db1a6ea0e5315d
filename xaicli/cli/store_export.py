"""`xaicli store export`: a store for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaicli.cli.options import Display, chosen
from xaicli.cli.output import OUTPUT
from xaicli.errors import ExistsError, UsageError
from xaicli.files.record import plain_record

if TYPE_CHECKING:
    from xaicli.files.export import Pixels
    from xaicli.files.store import Store
    from xaicli.run.settings import Settings

FORMATS = ("virelay", "npz", "csv")
EXAMPLES = """
xaicli store export csv scores.h5 -o scores.csv
xaicli store export npz maps.h5
xaicli store export virelay maps.h5 -o project/
"""


def export(
    target: Annotated[str, typer.Argument(metavar="virelay|npz|csv", help="Which format.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.h5", help="The store.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE|DIR/", help="Where it goes; beside the store else.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option("--data-root", envvar="XAICLI_DATA", metavar="DIR", help="Where data sets lie.")
    ] = None,
    parent: Annotated[
        list[Path] | None, typer.Option("--parent", metavar="PATH", help="File or folder to find parents in.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    *,
    display: Display,
) -> int:
    """Write a store as numpy's archive, as a table of its rows, or as a project that ViRelAy opens."""
    from xaicli.files.export import export_csv, export_npz, export_virelay
    from xaicli.files.store import open_store
    from xaicli.run.settings import Settings

    chosen("the format", target, FORMATS)
    path = output or file.with_name(f"{file.stem}-virelay" if target == "virelay" else f"{file.stem}.{target}")
    if path.exists() and not force:
        raise ExistsError(f"'{path}' exists; choose another -o or add --force.")
    with open_store(file) as store:
        if target == "virelay":
            if store.kind != "attributions":
                raise UsageError(f"'{file}' holds {store.kind}; a ViRelAy project shows attributions, so name those.")
            settings = Settings(data_root=data_root, parents=tuple(parent or ()))
            path = export_virelay(store, path, _pixels(store, settings))
        else:
            {"npz": export_npz, "csv": export_csv}[target](store, path)
        OUTPUT.record(plain_record("export", path=str(path), format=target, id=store.id, rows=store.rows))
    return 0


def _pixels(store: Store, settings: Settings) -> Pixels:
    """The images that were explained: the store's own, or those of its parent or data set."""
    import numpy as np

    def as_bytes(values: np.ndarray) -> np.ndarray:
        if values.dtype == np.uint8:
            return values
        return np.asarray((np.nan_to_num(values) * 255).round().clip(0, 255), np.uint8)

    if "data" in store.columns:
        return lambda rows: as_bytes(store.read(rows, ["data"])["data"])
    from xaicli.evaluate.sources import open_rows
    from xaicli.files.artifact import of_store
    from xaicli.files.parents import Parents
    from xaicli.files.sources import Sources
    from xaicli.run.inputs import match_rows

    artifact = of_store(store)
    dataset, _ = open_rows(artifact, Parents(Sources([artifact], {}), settings.parents), settings)
    inputs = match_rows(dataset, store.column("index").astype(np.int64), store.path.name)
    return lambda rows: as_bytes(dataset.read(inputs.positions[rows]).pixels)
