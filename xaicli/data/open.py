"""Data by name: `digits`, `shapes:val`, `folder:PATH:train`."""

from __future__ import annotations

from pathlib import Path

from xaicli.data.access import Access
from xaicli.data.dataset import Dataset
from xaicli.data.sources import SOURCES
from xaicli.data.splits import SPLITS, Split, known_split
from xaicli.errors import UsageError, nearest


def open_data(
    spec: str,
    *,
    split: str | None = None,
    shape: tuple[int, int, int] | None = None,
    access: Access | None = None,
) -> Dataset:
    """Open a data set.

    spec: NAME[:split]. split: instead of the suffix (default `test`). shape: channels, height and width that the images
    are brought to. access: where data sets lie, whether a missing one may be fetched, and how files are read; by
    default the current folder and the system's, no, and with a few threads. Raises UsageError for an unknown name or
    split, MissingError for data that is not there, UnavailableError for a download that failed, InputError for damaged
    data or images of other channels, RefusedError for files that are not safe to read.
    """
    access = access or Access()
    name, known, tail = spec.partition(":")
    if name == "folder" and known:
        folder, _, last = tail.rpartition(":")
        path, suffix = (folder, last) if folder and last in SPLITS else (tail, "")
    else:
        path, suffix = "", tail
    chosen = known_split(split or suffix or "test")
    if path:
        from xaicli.data.folder import open_folder

        below = access.root / path if access.root is not None else None
        return open_folder(below if below is not None and below.is_dir() else Path(path), chosen, shape, access)
    if name in SOURCES:
        return _open_named(name, chosen, shape, access)
    names = list(SOURCES)
    raise UsageError(
        f"there is no data '{spec}'.{nearest(name, names)} Use {', '.join(names)}, with a split as suffix."
    )


def _open_named(name: str, split: Split, shape: tuple[int, int, int] | None, access: Access) -> Dataset:
    """Each source is imported only when it is wanted."""
    if name == "digits":
        from xaicli.data.digits import open_digits

        return open_digits(split, shape)
    if name == "shapes":
        from xaicli.data.shapes import open_shapes

        return open_shapes(split, shape)
    if name == "noise":
        from xaicli.data.noise import open_noise

        return open_noise(split, shape)
    if name.endswith("mnist"):
        from xaicli.data.mnist import open_mnist

        return open_mnist(name, split, shape, access)
    if name.startswith("cifar"):
        from xaicli.data.cifar import open_cifar

        return open_cifar(name, split, shape, access)
    if name == "flowers102":
        from xaicli.data.flowers102 import open_flowers102

        return open_flowers102(split, shape, access)
    from xaicli.data.imagenet import open_imagenet

    return open_imagenet(split, shape, access)
