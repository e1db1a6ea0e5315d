"""A gallery of clusters: what lies in each, and the class that it was assigned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from xaicli.data.dataset import Dataset, to_float
from xaicli.data.joined import joined
from xaicli.evaluate.clusters import NONE
from xaicli.evaluate.open_rows import LEFT_OUT
from xaicli.files.artifact import of_store
from xaicli.files.checkpoint import read_meta
from xaicli.files.parents import Parents
from xaicli.files.store import Store
from xaicli.report.explained import Pictures
from xaicli.report.panels import Cell, draw_panels
from xaicli.report.pictures import Rows
from xaicli.report.sheet import INK, MISS, to_rgb
from xaicli.run.cases import reopen_data
from xaicli.run.inputs import match_rows
from xaicli.run.settings import Settings
from xaicli.run.stored import open_stored_images

CAPTION = (
    "The clusters, the largest first: the mean image with the class that the cluster is assigned and its purity, then "
    "some of its rows with their true classes (red: not the assigned one)."
)
AVERAGED = 256  # rows of a cluster that its mean image is made of


def clusterings(scores: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The aggregates of a scores store that say which clusters there are."""
    return [entry for entry in scores if entry.get("details", {}).get("clusters") and "fewest" in entry["details"]]


def gallery(store: Store, entry: Mapping[str, Any], images: Pictures, most: int) -> Image.Image:
    """A row for each cluster of one aggregate. images: of rows of the store. most: images of each cluster."""
    column = f"sources/{entry['source']}/{entry['metric']}"
    labels, truth = (store.column(name) for name in (column, f"{column}-class"))
    names = store.job["open"]["classes"]
    rows = []
    for cluster in entry["details"]["clusters"]:
        places = np.flatnonzero(labels == cluster["cluster"])
        shown = _spread(places, most)
        mean = to_float(images(_spread(places, AVERAGED))).mean(0)
        cells = [Cell(to_rgb(mean), said(cluster))]
        for image, place in zip(images(shown), shown, strict=True):
            name = names[int(truth[place])]
            cells.append(Cell(to_rgb(image), name, INK if name == cluster["class"] else MISS))
        rows.append(cells)
    return draw_panels(["mean", *[""] * most], rows)


def _spread(places: Rows, most: int) -> Rows:
    """At most so many of them, evenly apart."""
    return places[np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(np.int64))]


def judged_images(store: Store, parents: Parents, settings: Settings) -> Pictures:
    """The images of the rows of a scores store, those of unknown data among them."""
    artifact = of_store(store)
    meta, _ = read_meta(parents.find("checkpoint", str(store.sources[0]["checkpoint"]), artifact).path)
    parts: list[Dataset] = [reopen_data(dict(store.job["parents"]["data"]), meta.shape, parents, settings)]
    for source in store.job["open"]["unknown"]:
        data = dict(source["data"])
        if source["name"] == LEFT_OUT:
            continue
        if data["split"]:
            parts.append(reopen_data(data, meta.shape, parents, settings))
        else:
            parts.append(open_stored_images(parents.find("images", str(data["digest"]), artifact).path))
    whole = joined(parts)
    inputs = match_rows(whole, store.column("index").astype(np.int64), store.path.name)
    return lambda rows: whole.read(inputs.positions[rows]).pixels


def said(cluster: Mapping[str, Any]) -> str:
    """A cluster in a few words."""
    if cluster["cluster"] == NONE:
        return f"none: {cluster['rows']}"
    return f"{cluster['class'] or 'no class'}, {cluster['purity']:.0%}"
