"""Which superpixels to show together so that Shapley values can be found from the model's answers."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def kernel_coalitions(players: int, budget: int, draws: npt.NDArray[np.float32]) -> tuple[Bools, Floats]:
    """`budget` coalitions [budget, players] for the regression, and their weights [budget] by the Shapley kernel.

    The sizes of most weight are taken whole, a size together with its complements, as long as their share of the budget
    pays for them (Lundberg & Lee, 2017, as in shap); the rest is drawn in pairs of complements. draws: uniform numbers
    [(budget + 1) // 2, 1 + at least players]. What is left when all coalitions are in repeats one without weight.
    """
    present, weights = np.ones((budget, players), dtype=bool), np.zeros(budget)
    everything = budget >= 2**players - 2
    sizes = range(1, players // 2 + 1)
    # (M - 1) / (s (M - s)) of all coalitions of size s together, and again of their complements
    mass = {s: (players - 1) / (s * (players - s)) * (1 if 2 * s == players else 2) for s in sizes}
    filled = 0
    for size in sizes:
        number = comb(players, size) * (1 if 2 * size == players else 2)
        share = mass[size] / sum(mass[s] for s in sizes if s >= size)
        if not everything and (budget - filled) * share < number * (1 - 1e-8):
            break
        members = np.array(list(combinations(range(players), size)))
        whole = np.zeros((len(members), players), dtype=bool)
        np.put_along_axis(whole, members, True, axis=1)
        present[filled : filled + number] = whole if 2 * size == players else np.concatenate([whole, ~whole])
        weights[filled : filled + number] = mass.pop(size) / number
        filled += number
    if mass and filled < budget:
        drawn = (budget - filled + 1) // 2
        left = np.array(list(mass.values()))
        chosen = np.searchsorted(left.cumsum() / left.sum(), draws[:drawn, 0], side="right").clip(max=len(left) - 1)
        ranks = draws[:drawn, 1 : 1 + players].argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        half = ranks < np.array(list(mass))[chosen][:, None]
        present[filled:] = np.stack([half, ~half], axis=1).reshape(-1, players)[: budget - filled]
        weights[filled:] = left.sum() / (budget - filled)
    return present, weights


def shapley_regression(present: Tensor, scores: Tensor, weights: Tensor, total: Tensor, empty: Tensor) -> Tensor:
    """Shapley values [k] by weighted least squares that sum to `total` - `empty`, from coalitions [m, k], float64.

    Values are equal shares of the sum plus a part that sums to zero, so no player is eliminated; where the coalitions
    do not determine that part, it is the smallest.
    """
    players = present.shape[1]
    share = (total - empty) / players
    roots = weights.sqrt()
    centred = present - present.mean(1, keepdim=True)  # what cannot see a constant: its solutions sum to zero
    left = scores - empty - share * present.sum(1)
    # gelsd gives the smallest of several solutions
    found = torch.linalg.lstsq(centred * roots.unsqueeze(1), (left * roots).unsqueeze(1), driver="gelsd").solution
    part = found.squeeze(1)
    values: Tensor = share + part - part.mean()
    return values


def walks(order: npt.NDArray[np.int64]) -> Bools:
    """The coalitions on the way of permutations [P, k], forwards and backwards: [P, 2, k - 1, k].

    Entry j of a direction holds the first j + 1 players of the permutation, or its last j + 1.
    """
    players = order.shape[1]
    rank = order.argsort(axis=1, kind="stable")[:, None, :]
    steps = np.arange(1, players)[:, None]
    return np.stack([rank < steps, rank >= players - steps], axis=1)


def walked_values(order: Tensor, scores: Tensor, total: Tensor, empty: Tensor) -> Tensor:
    """Each permutation's estimate of the Shapley values [P, k], the mean of both directions, float64.

    order: int64 [P, k]. scores: [P, 2, k - 1], as `walks` asks.
    """
    ends = scores.new_zeros((*scores.shape[:2], 1))
    chain = torch.cat([ends + empty, scores, ends + total], dim=2)
    gains = chain.diff(dim=2)
    forth = torch.zeros_like(gains[:, 0]).scatter_(1, order, gains[:, 0])
    back = torch.zeros_like(gains[:, 1]).scatter_(1, order.flip(1), gains[:, 1])
    return (forth + back) / 2
