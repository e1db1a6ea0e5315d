"""`xaicli store export`: a store for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaicli.cli.options import Looking, chosen
from xaicli.cli.output import OUTPUT
from xaicli.errors import ExistsError, UsageError
from xaicli.files.record import MAP_KINDS, plain_record

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
    *,
    looking: Looking,
) -> int:
    """Write a store as numpy's archive, as a table of its rows, or as a project that ViRelAy opens."""
    from xaicli.files.export import export_csv, export_npz, export_virelay
    from xaicli.files.store import open_store

    chosen("the format", target, FORMATS)
    path = output or file.with_name(f"{file.stem}-virelay" if target == "virelay" else f"{file.stem}.{target}")
    if path.exists() and not looking.force:
        raise ExistsError(f"'{path}' exists; choose another -o or add --force.")
    with open_store(file) as store:
        if target == "virelay":
            if store.kind not in MAP_KINDS:
                raise UsageError(f"'{file}' holds {store.kind}; a ViRelAy project shows attributions, so name those.")
            path = export_virelay(store, path, _pixels(store, looking.settings))
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

    from xaicli.files.artifact import of_store
    from xaicli.files.parents import Parents
    from xaicli.files.sources import Sources
    from xaicli.report.explained import explained_images

    images = explained_images(store, Parents(Sources([of_store(store)], {}), settings.parents), settings)
    return lambda rows: as_bytes(images(rows))
