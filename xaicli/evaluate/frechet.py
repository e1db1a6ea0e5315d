"""How far generated images are from real ones, as two Gaussians in a model's features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xaicli.evaluate.company import FEWEST, Company, of_all, usable
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.whole import Columns, Facts, Figure

RELIABLE = 2  # images for every feature


def frechet(first: Tensor, second: Tensor) -> float:
    """The Frechet distance of the Gaussians fitted to two sets (Dowson and Landau, 1982).

    first, second: [n, D] and [m, D], float64. |a - b|^2 + tr(A + B - 2 (A B)^(1/2)) of their means and unbiased
    covariances. A B has the eigenvalues of the symmetric A^(1/2) B A^(1/2), so the trace of its root is the sum of
    their roots. NaN where a set has fewer than two rows.
    """
    if min(len(first), len(second)) < FEWEST:
        return math.nan
    one, other = _covariance(first), _covariance(second)
    values, vectors = torch.linalg.eigh(one)
    half = vectors * values.clamp_min(0).sqrt()
    shared = torch.linalg.eigvalsh(half.T @ other @ half).clamp_min(0).sqrt().sum()
    shift = (first.mean(0) - second.mean(0)).square().sum()
    return max(float(shift + one.trace() + other.trace() - 2 * shared), 0.0)


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """The distance of each source and that of as many real images, with what tells how far to trust them."""
    found = []
    for own, one in zip(columns, facts, strict=True):
        distance, floor = of_all(own[""]), of_all(own["floor"])
        width = of_all(own["dimensions"]).value
        details = {
            **one,
            "n": distance.n,
            "dimensions": width and int(width),
            "floor": floor.value,
            "unreliable": width is not None and distance.n < RELIABLE * width,
        }
        found.append([Figure("", distance, "lower", details=details), Figure("floor", floor, "neither")])
    return found


@reports(parts=("floor", "dimensions"), quantity="features", together=figures)
def frechet_distance(company: Company) -> Scores:
    """Frechet distance of generated from real images in a model's features, lower is better (Heusel et al., 2017).

    Between the Gaussians fitted to the penultimate features of all generated images and of the real test images of
    their classes: the judge's features if one is given, else the model's own, in which two models cannot be compared.
    It is called FD(model), never FID, which is that of one Inception network. `frechet-distance-floor` is what as many
    training images of the same classes score against the same test images. The fewer images, the larger it is, so there
    is no interval, and with fewer than two images a feature it is marked unreliable: compare at the same number alone.
    """

    def find() -> tuple[float, float, float]:
        made, test = company.features("made"), company.features("test")
        distances = (frechet(usable(rows), usable(test)) for rows in (made, company.features("copies")))
        return (*distances, float(made.shape[1]))  # type: ignore[return-value]

    distance, floor, width = company.once("frechet-distance", find)
    parts = {"floor": company.everywhere(floor), "dimensions": company.everywhere(width)}
    return Scores(company.everywhere(distance), parts)


def statement(name: str, value: float | None, details: Mapping[str, Any]) -> str:
    """A distance in one sentence."""
    n, width, called = details["n"], details["dimensions"], f"FD({details.get('model', 'features')})"
    if value is None:
        return f"{name}: {called} needs at least two images and two real ones; generate more."
    floor = "" if details["floor"] is None else f" ({details['floor']:.3g} for as many training images)"
    doubt = f"; unreliable, because fewer than {RELIABLE * width:,} images" if details["unreliable"] else ""
    return f"{name}: {called} = {value:.3g}{floor} of {n:,} images in {width:,} features{doubt}."
