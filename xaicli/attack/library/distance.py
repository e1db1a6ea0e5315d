"""How far images were moved, in any norm that an attack of the library keeps small."""

from __future__ import annotations

from torch import Tensor

from xaicli.attack.norms import size


def distance(delta: Tensor, norm: str) -> Tensor:
    """The norm of each perturbation [n, C, H, W], as [n]; l0 counts the pixels that changed in any channel."""
    if norm == "l0":
        return (delta != 0).any(1).flatten(1).sum(1).to(delta.dtype)
    return size(delta, norm)
