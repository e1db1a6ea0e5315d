"""Whether generated images are copies of training images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from xaicli.evaluate.company import Beside, Company
from xaicli.evaluate.scores import Scores, reports

_AT_ONCE = 4096  # training rows that are compared together
SETS: dict[str, Beside] = {"": "made", "ceiling": "real", "floor": "given"}


def nearest_distance(rows: Tensor, pieces: Iterable[Tensor]) -> Tensor:
    """The Euclidean distance of each row [n, ...] to the nearest of all rows that come in pieces [m, ...], [n] float64.

    A product finds the nearest row of a piece and differences its distance, so that a copy is at distance 0. NaN for a
    row that is not finite, and where no piece has a row.
    """
    seen = rows.double().flatten(1)
    best = seen.new_full((len(seen),), torch.inf)
    for piece in pieces:
        values = piece.to(seen).flatten(1)
        nearest = (values.square().sum(1) - 2 * seen @ values.T).argmin(1)
        best = torch.minimum(best, (seen - values[nearest]).square().sum(1).sqrt())
    return torch.where(best.isfinite(), best, torch.nan)


@reports(parts=("ceiling", "floor", "input", "input-ceiling", "input-floor"))
def nearest_training_image(company: Company) -> Scores:
    """Distance of a generated image to the nearest training image in a model's features; neither is better.

    Euclidean, between penultimate features of the judge if one is given, else of the model itself; the `input` parts
    are the same in pixel values of [0, 1]. The ceiling is a real test image of the same class, the floor what the
    generation began from: an image much nearer to a training image than both is a copy of it. The training images are
    read again for every block of rows.
    """

    def find(part: str) -> Tensor:
        training = torch.split(company.features("training"), _AT_ONCE)
        return company.once(f"nearest:{part}", lambda: nearest_distance(company.features(SETS[part]), training))

    values = {part: find(part)[company.rows] for part in SETS}
    counts = [len(company.rows)] * len(SETS)
    images = torch.cat([company.images(name, company.rows) for name in SETS.values()])
    distances = torch.split(nearest_distance(images, company.pieces()), counts)
    for part, found in zip(SETS, distances, strict=True):
        values["-".join(filter(None, ("input", part)))] = found
    return Scores(values.pop(""), values)
