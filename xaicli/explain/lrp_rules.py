"""LRP's rules for linear layers: what every output's relevance gives to the inputs, and what to the bias.

A rule shares an output's relevance in proportion to contributions: pieces of x times pieces of the weights. Which
pieces they are is all in which the rules differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.errors import UnavailableError

NEGLIGIBLE = 1e-6  # of the row's largest sum of contributions of one sign: what rounding may leave of nothing


@dataclass(frozen=True)
class Layer:
    """A linear map z = apply(x, weight) + bias of what some images have become.

    rows: how many images there are; the first axis of z is that of the images, or as many windows of each.
    """

    apply: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    rows: int


Shares = tuple[Tensor, Tensor | None]
"""Relevance of x, in its shape, and of the bias, in that of z; None where a rule leaves the bias out."""
Rule = Callable[[Layer, Tensor], Shares]


class Part:
    """Contributions of pieces of x by pieces of the weights: `z`, their sums, and a way to share by them."""

    def __init__(self, layer: Layer, relevance: Tensor, *pieces: tuple[Tensor, Tensor]) -> None:
        self.z = torch.zeros_like(relevance)
        self._pieces: list[tuple[Tensor, Tensor]] = []
        for piece, weight in pieces:
            if not (piece.any() and weight.any()):  # nothing is negative behind a ReLU, which halves the work
                continue
            leaf = piece.detach().requires_grad_()
            with torch.enable_grad():
                found = layer.apply(leaf, weight.detach())
            self.z += found.detach()
            self._pieces.append((leaf, found))
        self._none = torch.zeros_like(layer.x)

    def share(self, quotient: Tensor) -> Tensor:
        """The sum over outputs of contribution times quotient, in the shape of x."""
        given = self._none.clone()
        for leaf, found in self._pieces:
            given += leaf.detach() * torch.autograd.grad(found, leaf, quotient)[0]
        return given


def epsilon_rule(epsilon: float, *, absorbing: bool) -> Rule:
    """By x w / (z + epsilon sign z) (Bach et al., 2015).

    absorbing: the bias is an input like the others; else it is left out.
    """

    def share(layer: Layer, relevance: Tensor) -> Shares:
        part = Part(layer, relevance, (layer.x, layer.weight))
        bias = layer.bias if absorbing else None
        quotient = relevance / stabilised(part.z if bias is None else part.z + bias, layer.rows, epsilon)
        return part.share(quotient), None if bias is None else bias * quotient

    return share


def gamma_rule(gamma: float) -> Rule:
    """By x (w + gamma w+) (Montavon et al., 2019), the bias being an input like the others.

    As generalised to negative values by Andeol et al. (2021): of the contributions, those are strengthened that have
    the sign of the output.
    """

    def share(layer: Layer, relevance: Tensor) -> Shares:
        (plus, minus), b = _signs(layer.x), layer.bias
        rising, falling = (layer.weight + gamma * side for side in _signs(layer.weight))
        bias = torch.zeros_like(relevance) if b is None else b
        stronger = [bias + gamma * side for side in _signs(bias)]
        positive = layer.apply(layer.x, layer.weight) + bias >= 0
        given, taken, rest = torch.zeros_like(layer.x), torch.zeros_like(relevance), relevance
        for here, mine, other, shift in (
            (positive, rising, falling, stronger[0]),
            (~positive, falling, rising, stronger[1]),
        ):
            part = Part(layer, relevance, (plus, mine), (minus, other))
            total = part.z + shift
            usable = here & _is_something(total, layer.rows)
            quotient = torch.where(usable, relevance / torch.where(usable, total, 1), 0)
            given += part.share(quotient)
            taken += shift * quotient
            rest = torch.where(usable, 0, rest)
        given += _by_size(layer, rest) if rest.any() else 0
        return given, None if b is None else taken

    return share


def alpha_beta_rule(alpha: float) -> Rule:
    """Alpha by the positive contributions less beta = alpha - 1 by the negative ones (Bach et al., 2015); no bias."""

    def share(layer: Layer, relevance: Tensor) -> Shares:
        (plus, minus), (rising, falling) = _signs(layer.x), _signs(layer.weight)
        parts = [(alpha, Part(layer, relevance, (plus, rising), (minus, falling)))]
        if alpha != 1:
            parts.append((1 - alpha, Part(layer, relevance, (plus, falling), (minus, rising))))
        return _by_parts(layer, relevance, parts), None

    return share


def box_rule(low: Tensor, high: Tensor) -> Rule:
    """By x w - low w+ - high w-, which is never negative: for inputs in a box (Montavon et al., 2017); no bias."""

    def share(layer: Layer, relevance: Tensor) -> Shares:
        rising, falling = _signs(layer.weight)
        part = Part(layer, relevance, (layer.x - low, rising), (layer.x - high, falling))
        return _by_parts(layer, relevance, [(1.0, part)]), None

    return share


def stabilised(z: Tensor, rows: int, epsilon: float) -> Tensor:
    """Moved away from 0 by the share epsilon of the row's largest; never 0."""
    moved = z + epsilon * largest(z, rows) * torch.where(z < 0, -1, 1)
    return torch.where(moved == 0, 1, moved)


def largest(z: Tensor, rows: int) -> Tensor:
    """The largest absolute value of every row, in a shape that goes with z."""
    each = grouped(z, rows).abs().amax(1)
    return each.repeat_interleave(len(z) // rows).view(-1, *[1] * (z.dim() - 1))


def grouped(values: Tensor, rows: int) -> Tensor:
    """What belongs to each image, [rows, values]. Raises UnavailableError if the first axis is not that of images."""
    if values.dim() == 0 or len(values) % rows:
        raise UnavailableError(
            f"the network mixes the images of a batch in values of the shape {list(values.shape)}, which relevance "
            "cannot follow; use a method that does not rewrite the network, such as integrated-gradients."
        )
    return values.reshape(rows, -1)


def _signs(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.clamp(min=0), values.clamp(max=0)


def _by_parts(layer: Layer, relevance: Tensor, parts: list[tuple[float, Part]]) -> Tensor:
    """Each part's factor by its contributions; an output that lacks one of them shares by the size of all."""
    usable = torch.ones_like(relevance, dtype=torch.bool)
    for _, part in parts:
        usable &= _is_something(part.z, layer.rows)
    given = torch.zeros_like(layer.x)
    for factor, part in parts:
        given += factor * part.share(torch.where(usable, relevance / torch.where(usable, part.z, 1), 0))
    rest = torch.where(usable, 0, relevance)
    return given + _by_size(layer, rest) if rest.any() else given


def _by_size(layer: Layer, relevance: Tensor) -> Tensor:
    """By abs(x w); an output to which nothing contributes, the bias aside, shares evenly."""
    part = Part(layer, relevance, (layer.x.abs(), layer.weight.abs()))
    usable = _is_something(part.z, layer.rows)
    given = part.share(torch.where(usable, relevance / torch.where(usable, part.z, 1), 0))
    rest = torch.where(usable, 0, relevance)
    if rest.any():
        even = Part(layer, relevance, (torch.ones_like(layer.x), torch.ones_like(layer.weight)))
        given += even.share(rest / even.z)
    return given


def _is_something(z: Tensor, rows: int) -> Tensor:
    return z.abs() > NEGLIGIBLE * largest(z, rows)
