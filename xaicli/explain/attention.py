"""Explanations by what a network attends to."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.explain.block import Block
from xaicli.explain.explanation import PixelMaps
from xaicli.explain.rollout import Heads, rolled_out
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards

_FUSED: dict[str, Heads] = {
    "mean": lambda attention: attention.mean(1),
    "max": lambda attention: attention.amax(1),
    "min": lambda attention: attention.amin(1),
}


def attention_rollout(rollout: Tensor, *, heads: Literal["mean", "max", "min"] = "mean") -> PixelMaps:
    """The attention of all layers, multiplied through from the end to the patches (Abnar and Zuidema, 2020).

    For networks with attention, such as ViT and Swin; it looks at no class. In every layer, attention fused over
    `heads` and the identity of the shortcut count alike, in rows that sum to 1. The end is the class token, or the mean
    of the tokens where the network reads that; a token merged from four hands its share to them equally. Returns
    [n, 1, h, w] at the patches, non-negative; it sums to 1 less what class tokens and padding hold.
    """
    return rollout


@forwards(1)
def rollout(block: Block, *, heads: str = "mean") -> Tensor:
    """The share of every patch in what the network reads at its end, [n, 1, h, w]; one forward."""
    classifier, network = block.calls.classifier, block.calls.canonical()

    def ask(images: Tensor) -> Answer:
        return (rolled_out(network, (images - classifier.mean) / classifier.std, _FUSED[heads]),)

    with torch.enable_grad():
        return block.calls.each(ask, block.images)[0]


QUERIES = (rollout,)
