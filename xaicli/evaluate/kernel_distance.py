"""How far generated images are from real ones by a kernel's mean discrepancy in a model's features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xaicli.evaluate.company import FEWEST, Company, of_all, usable
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.whole import Columns, Facts, Figure
from xaicli.run.random import Stream, generator
from xaicli.signatures import Count


def squared_discrepancy(first: Tensor, second: Tensor) -> float:
    """The unbiased squared maximum mean discrepancy of two sets for k(x, y) = (x.y / D + 1)^3 (Gretton et al., 2012).

    first, second: [n, D] and [m, D], float64. It can be negative. NaN where a set has fewer than two rows.
    """
    if min(len(first), len(second)) < FEWEST:
        return math.nan
    return _within(first) + _within(second) - 2 * float(_kernel(first, second).mean())


def _within(rows: Tensor) -> float:
    """The mean kernel of two different rows."""
    values = _kernel(rows, rows)
    return float(values.sum() - values.trace()) / (len(rows) * (len(rows) - 1))


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T / first.shape[1] + 1) ** 3


def over_subsets(first: Tensor, second: Tensor, subsets: int, size: int, seed: int) -> tuple[float, float]:
    """Mean and standard deviation of the discrepancy over random subsets of both sets.

    size: rows of a subset, all of a set that has not so many; drawn without replacement.
    """
    found = []
    for number in range(subsets):
        rng = generator(seed, f"kernel-distance:{size}", number)
        drawn = (rows[torch.as_tensor(rng.permutation(len(rows))[:size])] for rows in (first, second))
        found.append(squared_discrepancy(*drawn))
    values = torch.tensor(found, dtype=torch.float64)
    return float(values.mean()), float(values.std()) if subsets > 1 else math.nan


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """The mean of each source, the deviation of its subsets, and the mean of as many real images."""
    found = []
    for own, one in zip(columns, facts, strict=True):
        distance = of_all(own[""])
        details = {**one, "n": distance.n, "deviation": of_all(own["deviation"]).value}
        beside = [Figure(part, of_all(own[part]), "neither") for part in ("deviation", "floor")]
        found.append([Figure("", distance, "lower", details=details), *beside])
    return found


@reports(parts=("deviation", "floor"), quantity="features", together=figures)
def kernel_distance(company: Company, stream: Stream, *, subsets: Count = 50, size: Count = 100) -> Scores:
    """Kernel distance of generated from real images in a model's features, lower is better (Binkowski et al., 2018).

    The squared maximum mean discrepancy for the kernel (x.y / D + 1)^3, unbiased at any number of images, so that it
    can be negative: the mean over `subsets` random subsets of `size` generated and as many real test images, fewer
    where there are not so many, and `kernel-distance-deviation`, that of one subset. Features and images are those of
    the Frechet distance; `kernel-distance-floor` is what as many training images of the same classes score.
    """

    def find() -> tuple[float, float, float]:
        made, copies, test = (usable(company.features(name)) for name in ("made", "copies", "test"))
        mean, deviation = over_subsets(made, test, subsets, size, stream.seed)
        return mean, deviation, over_subsets(copies, test, subsets, size, stream.seed)[0]

    mean, deviation, floor = company.once(f"kernel-distance:{subsets}:{size}", find)
    parts = {"deviation": company.everywhere(deviation), "floor": company.everywhere(floor)}
    return Scores(company.everywhere(mean), parts)
