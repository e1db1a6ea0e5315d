"""Which units of a layer decide, and what they see: influence-directed explanations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xaicli.explain.block import Block, Scored
from xaicli.explain.explanation import ChannelMaps, Figure, Measured, stores
from xaicli.explain.passes import output_of
from xaicli.explain.quantity import score
from xaicli.explain.turns import answers_in_turn
from xaicli.models.watch import output_in
from xaicli.run.calls import Answer, Calls
from xaicli.run.plan import forwards
from xaicli.signatures import Count

UNITS = Figure("<f4", lambda units: (units,))
EXPERTS = Figure("<u2", lambda units, experts: (min(experts, units),))


@dataclass(frozen=True)
class ExpertPass:
    """The units of most influence, and the gradient of their weighted activations at the image."""

    experts: Tensor  # int64 [n, k], most influential first
    gradient: Tensor  # [n, C, H, W]


@forwards(lambda distribution, samples: {"sample": 1, "path": samples}.get(distribution, 0))
def unit_influence(
    block: Block,
    prediction: Scored,
    baselines: Callable[[int], Tensor],
    *,
    layer: str = "auto",
    distribution: str = "class",
    samples: int = 50,
) -> Tensor:
    """I_j = E[d q / d h_j] of every channel of the layer, averaged over its places, [n, K].

    Over training images it depends on the explained class alone, and is asked once a run and class.
    """
    target, against = prediction.target, prediction.against
    if distribution == "sample":
        (found,) = block.calls.each(_question(block, block.calls, layer), block.images, target, against)
        return found
    if distribution == "path":
        return _along_path(block, prediction, baselines(0), layer, samples)
    classes = torch.where(target < prediction.logits.shape[1], target, 0).tolist()  # an unknown label fails elsewhere
    kinds = zip(classes, against.tolist(), strict=True)
    return torch.stack([_over_training(block, layer, distribution, samples, *kind) for kind in kinds])


def _over_training(block: Block, layer: str, distribution: str, samples: int, target: int, against: int) -> Tensor:
    """The mean over training images (of the explained class, or all), [K]."""

    def ask() -> Tensor:
        calls = block.calls.apart()
        chosen = block.background.of_class(target, samples) if distribution == "class" else block.background(samples)
        classes = [torch.full((len(chosen),), number, device=chosen.device) for number in (target, against)]
        (found,) = calls.each(_question(block, calls, layer), chosen, *classes)
        return found.double().mean(0).to(found)

    return block.background.once(("influence", layer, distribution, samples, target, against, block.quantity), ask)


def _along_path(block: Block, prediction: Scored, baseline: Tensor, layer: str, steps: int) -> Tensor:
    """The mean along the straight path from a baseline to the image by Gauss-Legendre, [n, K]."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places = torch.as_tensor((nodes + 1) / 2).to(baseline)
    total: Tensor | None = None

    def points(rows: Tensor, turns: Tensor) -> Tensor:
        return torch.lerp(baseline[rows], block.images[rows], places[turns].view(-1, 1, 1, 1))

    ask = _question(block, block.calls, layer)
    target, against = prediction.target, prediction.against
    for turn, rows, part in answers_in_turn(block.calls, target, against, steps, points, ask):
        total = part.new_zeros(len(baseline), part.shape[1]) if total is None else total
        total[rows] += float(weights[turn] / 2) * part
    assert total is not None  # a block has rows
    return total


def _question(block: Block, calls: Calls, layer: str) -> Callable[..., Answer]:
    """Asks for the quantity's mean gradient at every channel of the layer."""
    module, grid = calls.layer(layer), calls.find(layer).grid

    def ask(images: Tensor, target: Tensor, against: Tensor) -> Answer:
        with output_of(module) as captured:
            logits = calls.classifier(images)
        value = score(logits, target, against, block.quantity)
        (gradients,) = torch.autograd.grad(value.sum(), captured)
        return (grid.maps(gradients).mean((2, 3)),)

    return ask


@forwards(1)
def expert_pass(block: Block, unit_influence: Tensor, *, layer: str = "auto", experts: int = 5) -> ExpertPass:
    """The experts, and the gradient of sum ReLU(I_j) h_j over them (and the places of each) at the image."""
    module, grid = block.calls.layer(layer), block.calls.find(layer).grid
    chosen = unit_influence.sort(dim=1, descending=True, stable=True).indices[:, :experts]
    weights = torch.zeros_like(unit_influence).scatter(1, chosen, unit_influence.gather(1, chosen).relu())

    def ask(images: Tensor, weights: Tensor) -> Answer:
        images = images.requires_grad_()
        with output_in(module) as outputs:
            block.calls.classifier(images)
        return torch.autograd.grad((weights[:, :, None, None] * grid.maps(outputs[0])).sum(), images)

    (gradient,) = block.calls.each(ask, block.images, weights)
    return ExpertPass(chosen, gradient)


@stores("influence", influence=UNITS, experts=EXPERTS)
def influence(
    image: Tensor,
    unit_influence: Tensor,
    expert_pass: ExpertPass,
    *,
    layer: str = "auto",
    distribution: Literal["class", "all", "sample", "path"] = "class",
    experts: Count = 5,
    samples: Count = 50,
    baseline: Literal["black", "white", "mean", "blur", "uniform", "gaussian", "data"] = "black",
) -> Measured[ChannelMaps]:
    """Influence-directed explanations: the pixels that the most influential units respond to (Leino et al., 2018).

    A unit is a channel of `layer` (auto = the last spatial one). Its influence I_j is the mean over images x of the
    derivative of the explained quantity q(f(x)) by the unit, averaged over the channel's places: in units of the
    quantity per unit of activation. Whose images x are is the question that is asked.

    distribution=class: `samples` training images of the explained class. The units are then those by which the network
    recognises the class as such, the same for every image of it.
    distribution=all: `samples` training images of any class.
    distribution=sample: the image itself. The units that decide here, as a gradient sees them.
    distribution=path: `samples` points (Gauss-Legendre) on the straight path from `baseline` to the image, which sees
    what saturates at the image.

    The quantity is that of the command: --quantity, or a contrast such as --target cat,dog, which asks for the units
    that tell the two apart. The `experts` units of largest influence explain the image: the map [n, C, H, W], signed,
    is the image times the gradient of sum ReLU(I_j) h_j over the experts and their places, in units of the quantity. On
    a network that is linear, with one weight for all places of a channel, it sums to what the experts contribute.

    The store, of the kind influence, holds `influence` [n, K] of all units and `experts` [n, k], the most influential
    first, beside the maps, which every command takes as attributions.
    """
    return Measured(image * expert_pass.gradient, figures={"influence": unit_influence, "experts": expert_pass.experts})


QUERIES = (unit_influence, expert_pass)
