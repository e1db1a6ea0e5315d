"""Fixed stratified splits, the same on every machine and with every version of every library."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from xaicli.data.dataset import Rows
from xaicli.errors import InputError, UsageError, nearest

Split = Literal["train", "fit", "val", "test"]
FullSplit = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

SPLIT_SEED = 20240229
"""The seed of every split; it is recorded in checkpoints, and no option changes it."""


def known_split(word: str) -> Split:
    """The split of this name, or an error that lists them."""
    if word not in SPLITS:
        raise UsageError(f"there is no split '{word}'; take one of {', '.join(SPLITS)}.{nearest(word, SPLITS)}")
    return word


def full_split(split: Split) -> FullSplit:
    """The split that a source stores and numbers: `fit` and `val` are cut from `train`."""
    return "test" if split == "test" else "train"


def hold_out(labels: Rows, *, tenths: int, seed: int = SPLIT_SEED) -> tuple[Rows, Rows]:
    """Cut tenths/10 of the rows off, each class in proportion: (rows kept, rows held out), both ascending.

    The number held out is rounded up. Classes share it by largest remainders (at a tie the earlier class gets the row),
    and no class gives its last row away. Within a class the rows with the smallest random numbers go; these are the raw
    output of Philox, which numpy keeps stable, unlike its shuffling. Integers throughout, so nothing can round.
    """
    classes, counts = np.unique(labels, return_counts=True)
    total = -(-tenths * len(labels) // 10)
    shares, remainders = np.divmod(counts * tenths, 10)
    by_remainder = np.argsort(-remainders, kind="stable")
    shares[by_remainder[: max(0, total - int(shares.sum()))]] += 1
    shares = np.minimum(shares, counts - 1)

    order = np.argsort(_raw(seed, len(labels)), kind="stable")
    held = np.zeros(len(labels), dtype=bool)
    for name, share in zip(classes, shares, strict=True):
        members = order[labels[order] == name]
        held[members[:share]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def rows_of(split: Split, labels: Rows) -> Rows:
    """The rows of `split` within the full split it is cut from, whose labels are given."""
    if split in ("train", "test"):
        return np.arange(len(labels), dtype=np.int64)
    fit, val = hold_out(labels, tenths=1)
    if len(val) == 0:
        raise InputError(
            f"the {len(labels)} training images are too few to hold a tenth of them out for validation; "
            "give at least ten images, two of them of one class."
        )
    return fit if split == "fit" else val


def _raw(seed: int, count: int) -> NDArray[np.uint64]:
    return np.random.Philox(key=seed).random_raw(count)
