"""How much generated images of one class differ from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xaicli.evaluate.company import FEWEST, Beside, Company
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.statistics import Estimate, Values
from xaicli.evaluate.whole import Columns, Facts, Figure, known

_AT_ONCE = 1 << 22  # differences that are held together
SETS: dict[str, Beside] = {"": "made", "ceiling": "real", "floor": "given"}


def spread(features: Tensor, classes: Tensor) -> Tensor:
    """The mean Euclidean distance of each row to the others of its class, [N]; NaN for one that has no others.

    features: [N, D] float64; rows that are not finite are left out. classes: int64 [N].
    """
    finite = features.isfinite().all(1)
    found = torch.full((len(features),), torch.nan, dtype=torch.float64)
    for label in torch.unique(classes[finite]):
        members = torch.nonzero(finite & (classes == label)).flatten()
        if len(members) >= FEWEST:
            found[members] = _distances(features[members]).sum(1) / (len(members) - 1)
    return found


def _distances(rows: Tensor) -> Tensor:
    """All pairs, [n, n]; from differences, so that equal rows are at distance 0."""
    step = max(1, _AT_ONCE // rows.numel())
    parts = [(part.unsqueeze(1) - rows).square().sum(2) for part in torch.split(rows, step)]
    return torch.cat(parts).sqrt()


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """The means; rows share their distances, so that resampling them would give too narrow an interval."""
    return [
        [Figure("", _mean(own[""]), "neither"), *(Figure(part, _mean(own[part]), "neither") for part in SETS if part)]
        for own in columns
    ]


def _mean(values: Values) -> Estimate:
    kept = values[values == values].astype(float)
    return known(float(kept.mean()) if len(kept) else None, len(kept))


@reports(parts=("ceiling", "floor"), quantity="features", together=figures)
def diversity(company: Company) -> Scores:
    """Mean distance of a generated image to the others of its class in a model's features; neither is better.

    Euclidean, between penultimate features of the judge if one is given, else of the model itself. The ceiling is the
    same of real test images, as many of every class, and the floor that of the images the generation began from: 0 is
    one image over and over, the ceiling as it should be, and far more is noise. Undefined for the only image of a
    class.
    """

    def find(name: Beside) -> Tensor:
        return company.once(f"diversity:{name}", lambda: spread(company.features(name), company.classes))

    values = {part: find(name)[company.rows] for part, name in SETS.items()}
    return Scores(values.pop(""), values)
