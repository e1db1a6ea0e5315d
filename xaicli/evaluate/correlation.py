"""Correlation coefficients of the rows of two tables, in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

_EQUAL = 2.0**-40  # of a row's largest magnitude: differences below it come from the order of a sum


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's coefficient of each row of two tables [n, k], float64 [n]; NaN where one of the two is constant."""
    a, b = _scaled(a), _scaled(b)
    found = (_standardised(a) * _standardised(b)).sum(1)
    return torch.where(_varies(a) & _varies(b), found.clamp(-1, 1), torch.nan)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's coefficient of each row of two tables [n, k], float64 [n]; equal values share the mean of their ranks.

    NaN where one of the two is constant.
    """
    return pearson(ranks(_tied(a)), ranks(_tied(b)))


def ranks(values: Tensor) -> Tensor:
    """Ranks 1, 2, ... within each row of a table [n, k], float64; equal values share the mean of their ranks."""
    ordered, place = values.sort(1)
    at = torch.arange(1, values.shape[1] + 1, device=values.device).expand_as(place)
    fresh = torch.ones_like(place, dtype=torch.bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(fresh, at, 0).cummax(1).values  # of the run of equal values that each one is in
    last = torch.where(fresh.roll(-1, 1), at, values.shape[1]).flip(1).cummin(1).values.flip(1)
    return torch.empty_like(ordered, dtype=torch.float64).scatter_(1, place, (first + last).double() / 2)


def _scaled(values: Tensor) -> Tensor:
    """Each row divided by its largest magnitude, float64; a row of zeros stays."""
    values = values.double()
    largest = values.abs().amax(1, keepdim=True)
    return values / torch.where(largest > 0, largest, 1)


def _varies(scaled: Tensor) -> Tensor:
    return scaled.amax(1) - scaled.amin(1) > _EQUAL


def _standardised(scaled: Tensor) -> Tensor:
    """Rows of mean 0 and length 1; constant ones become 0."""
    centred = scaled - scaled.mean(1, keepdim=True)
    return torch.nn.functional.normalize(centred, dim=1, eps=torch.finfo(torch.float64).tiny)


def _tied(values: Tensor) -> Tensor:
    """Values that are equal but for rounding, made equal: sums over subsets of a map of few values tie exactly."""
    return (_scaled(values) / _EQUAL).round()
