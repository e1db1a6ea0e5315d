"""What becomes of the explained quantity without each channel of a layer, and of an image seen through each channel.

Both ask one question per channel and row, in batches that run across rows; only one batch of them exists at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xaicli.explain.block import Block
from xaicli.explain.passes import LayerPass
from xaicli.explain.quantity import score
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards

_FAR_BELOW = 1e7  # grad-cam's "very negative value"


@forwards(lambda layer, channels: channels(layer), tail=True)
def ablated_scores(block: Block, layer_pass: LayerPass, *, layer: str = "auto", fill: str = "zero") -> Tensor:
    """The quantity without each channel of the layer, [n, K]; only the network above the layer is computed anew."""
    calls, grid = block.calls, block.calls.find(layer).grid
    maps, beside = (x.contiguous() for x in (layer_pass.activations, layer_pass.beside))  # a row is copied in one piece
    count, tail = maps.shape[1], calls.tail(layer)
    filling = _filling(torch.cat([maps.flatten(2), beside], 2), fill)

    def build(items: Tensor) -> Answer:
        rows, channels = items // count, items % count
        changed, tokens = maps.index_select(0, rows), beside.index_select(0, rows)
        for part in (changed.flatten(2), tokens):
            part[torch.arange(len(items), device=items.device), channels] = filling[rows]
        return grid.output(changed, tokens), rows, layer_pass.target[rows], layer_pass.against[rows]

    def ask(changed: Tensor, rows: Tensor, target: Tensor, against: Tensor) -> Answer:
        logits = tail(changed, lambda: block.images.index_select(0, rows))
        return (score(logits, target, against, block.quantity),)

    with torch.no_grad():
        return torch.cat([part for _, (part,) in calls.over(len(maps) * count, build, ask)]).view(-1, count)


@forwards(lambda layer, channels: channels(layer))
def masked_scores(block: Block, layer_pass: LayerPass, *, layer: str = "auto") -> Tensor:
    """The quantity of the image seen through each channel, scaled to [0, 1] and upsampled to a mask, [n, K]."""
    calls, images, maps = block.calls, block.images, layer_pass.activations
    count, size = maps.shape[1], tuple(images.shape[2:])

    def build(items: Tensor) -> Answer:
        rows, channels = items // count, items % count
        # corners aligned as in grad-cam
        masks = interpolate(maps[rows, channels].unsqueeze(1), size=size, mode="bilinear", align_corners=True)
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        masks = (masks - low) / torch.where(high > low, high - low, 1)  # a constant channel hides everything
        return masks * images.index_select(0, rows), layer_pass.target[rows], layer_pass.against[rows]

    def ask(masked: Tensor, target: Tensor, against: Tensor) -> Answer:
        return (score(calls.classifier(masked), target, against, block.quantity),)

    with torch.no_grad():
        return torch.cat([part for _, (part,) in calls.over(len(maps) * count, build, ask)]).view(-1, count)


def _filling(values: Tensor, fill: str) -> Tensor:
    """What a channel is set to, [n, 1]: zero, or as grad-cam does zero only where zero is a row's smallest value."""
    smallest = values.amin((1, 2)).view(-1, 1)
    zero = torch.zeros_like(smallest)
    return zero if fill == "zero" else torch.where(smallest == 0, zero, smallest - _FAR_BELOW)


QUERIES = (ablated_scores, masked_scores)
