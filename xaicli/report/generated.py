"""What generate has made, as contact sheets: of one model, or of several beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from xaicli.errors import InputError
from xaicli.evaluate.sources import open_rows
from xaicli.files.artifact import of_store
from xaicli.files.parents import Parents
from xaicli.files.store import Store, open_store
from xaicli.report.colours import draw_map
from xaicli.report.contact import JOB
from xaicli.report.explained import training_images
from xaicli.report.pictures import Rows, chosen_rows, class_name
from xaicli.report.sheet import Group, Pixels, Tile, draw_sheet, save_png, to_rgb
from xaicli.run.inputs import match_rows
from xaicli.run.settings import Settings

MOST = 16
"""Images in a row."""
OF_IMAGES = ("inversion", "counterfactual")
CAPTION = {
    "class-images": "Rows are classes, columns are seeds. Framed in red: the model takes the image for another class.",
    "feature-visualisation": "Rows are what is driven, columns are seeds; then the training images that drive it most "
    "and least, with how far.",
    "inversion": "Images, and below each what has the same representation; the relative distance that is left.",
    "counterfactual": "Images and their class; below each the nearest image found of another class, with its "
    "probability (framed in red: less than was asked for), and the change, red where it is brighter.",
}
OTHER = "Framed in red: the model takes the image for another class than was driven."


def write_sheets(paths: Sequence[Path], parents: Parents, settings: Settings) -> list[Path]:
    """A PNG beside each images store, and of several that a generator made one `<generator>.png` that has them all."""
    written = []
    with ExitStack() as opened:
        stores = [opened.enter_context(open_store(path)) for path in paths]
        for store in stores:
            written.append(_write([store], store.path.with_suffix(".png"), parents, settings))
        for group in together(stores):
            if len(group) > 1:
                name = f"{group[0].job['method']}.png"
                written.append(_write(group, group[0].path.with_name(name), parents, settings))
    return written


def _write(stores: Sequence[Store], path: Path, parents: Parents, settings: Settings) -> Path:
    save_png(generated_picture(stores, parents, settings), path)
    return path


def together(stores: Sequence[Store]) -> list[list[Store]]:
    """The stores in groups of the same generator and the same classes."""
    groups: dict[tuple[str, ...], list[Store]] = {}
    for store in stores:
        groups.setdefault((str(store.job["method"]), *map(str, store.attributes["classes"])), []).append(store)
    return list(groups.values())


def generated_picture(stores: Sequence[Store], parents: Parents, settings: Settings, most: int = MOST) -> Image.Image:
    """The contact sheet of one store, or of several of the same generator; most: images in a row."""
    if str(stores[0].job["method"]) in OF_IMAGES:
        return _below_their_images(stores, parents, settings, most)
    return _by_what_is_driven(stores, parents, settings, most)


def _models(stores: Sequence[Store]) -> list[str]:
    """The checkpoints' names as the files have them; of several stores of one checkpoint, all of the files' names."""
    stems = [store.path.stem for store in stores]
    plain = [JOB.sub("", stem).removesuffix(f".{stores[0].job['method']}") for stem in stems]
    return plain if len(set(plain)) == len(plain) else stems


def _by_what_is_driven(stores: Sequence[Store], parents: Parents, settings: Settings, most: int) -> Image.Image:
    """A row for each class or unit, a group of columns for each store."""
    driven = {name: None for store in stores for name in _driven(store)}
    each = max(most // len(stores), 1)
    titles = _models(stores) if len(stores) > 1 else [""]
    groups = [Group(_seeds(store, list(driven), each), title) for store, title in zip(stores, titles, strict=True)]
    for store, title in zip(stores, titles, strict=True):
        if "top" in store.columns:
            groups += _extremes(store, list(driven), title, parents, settings)
    return draw_sheet(list(driven), groups)


def _driven(store: Store) -> list[str]:
    """What each row was driven to, in words."""
    target = store.column("target")
    if (target < len(store.attributes["classes"])).any() or "unit" not in store.columns:
        return [class_name(store, label) for label in target]
    return [f"unit {unit}" for unit in store.column("unit")]


def _seeds(store: Store, driven: Sequence[str], each: int) -> list[list[Tile]]:
    names, target, predicted = np.array(_driven(store)), store.column("target"), store.predicted()
    asked = target < len(store.attributes["classes"])
    rows = []
    for name in driven:
        mine = np.flatnonzero(names == name)[:each]
        images = store.read(mine, ["data"])["data"]
        missed = asked & (predicted != target)
        rows.append([Tile(to_rgb(image), framed=bool(missed[n])) for n, image in zip(mine, images, strict=True)])
    return rows


def _extremes(store: Store, driven: Sequence[str], title: str, parents: Parents, settings: Settings) -> list[Group]:
    """The training images that drive each row's objective most and least."""
    _, channels, height, width = store.shape("data")
    training = training_images(store, (channels, height, width), parents, settings)
    names = _driven(store)
    groups = []
    for side, word in (("top", "most"), ("bottom", "least")):
        rows = []
        for name in driven:
            here = [names.index(name)] if name in names else []
            held = store.read(np.array(here, dtype=np.int64), [side, f"{side}_value"])
            where = np.searchsorted(training.index, held[side].ravel().astype(np.int64))
            images, values = training.read(where).pixels, held[f"{side}_value"].ravel()
            rows.append([Tile(to_rgb(image), f"{value:.3g}") for image, value in zip(images, values, strict=True)])
        groups.append(Group(rows, f"{title} {word}".strip()))
    return groups


def _below_their_images(stores: Sequence[Store], parents: Parents, settings: Settings, most: int) -> Image.Image:
    """A column for each image: itself, then what each store has made of it."""
    first = stores[0]
    if any(not np.array_equal(store.column("sample"), first.column("sample")) for store in stores):
        raise InputError("these stores do not hold what became of the same images; name them one by one.")
    rows = chosen_rows(first, most, "label")
    dataset, _ = open_rows(of_store(first), parents, settings)
    inputs = match_rows(dataset, first.column("index").astype(np.int64), first.path.name)
    originals = [to_rgb(image) for image in dataset.read(inputs.positions[rows]).pixels]
    labels = first.column("label")[rows]
    names = ["image"]
    tiles = [[Tile(image, class_name(first, label)) for image, label in zip(originals, labels, strict=True)]]
    titles = _models(stores) if len(stores) > 1 else [str(first.job["method"])]
    for store, title in zip(stores, titles, strict=True):
        names.append(title)
        tiles.append(_made(store, rows))
        if "distance" in store.columns:
            names.append("change")
            tiles.append(_changes(store, rows, originals))
    return draw_sheet(names, [Group(tiles)])


def _made(store: Store, rows: Rows) -> list[Tile]:
    held = store.read(rows, ["data", "score", "target", *(["success"] if "success" in store.columns else [])])
    tiles = []
    for n, image in enumerate(held["data"]):
        score = float(held["score"][n])
        if "success" in held:
            said = f"{class_name(store, held['target'][n])}: {100 * score:.0f} %"
            tiles.append(Tile(to_rgb(image), said, framed=not held["success"][n]))
        else:
            tiles.append(Tile(to_rgb(image), f"{score:.3g}"))
    return tiles


def _changes(store: Store, rows: Rows, originals: Sequence[Pixels]) -> list[Tile]:
    """The differences in all channels, red where the image became brighter and blue where darker."""
    held = store.read(rows, ["data", "distance"])
    tiles = []
    for image, original, distance in zip(held["data"], originals, held["distance"], strict=True):
        change = to_rgb(image).astype(np.float64).sum(2) - original.astype(np.float64).sum(2)
        signed = np.minimum(change, -1e-9) if not (change < 0).any() else change
        drawn = (draw_map(signed[None], original) * 255).round().astype(np.uint8)
        tiles.append(Tile(drawn, f"distance {distance:.3g}"))
    return tiles
