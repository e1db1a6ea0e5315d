"""How the output of a layer holds a map of the image: channels first or last, or as a sequence of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The order of a layer's output [N, ...], to read a map [N, K, h, w] from it and to put one back.

    `kind`: `map` is [N, K, h, w], `channels-last` [N, h, w, K], `tokens` [N, extra + h w, K] with the places row by row
    behind `extra` tokens (class, distillation, registers) that belong to no place.
    """

    kind: Literal["map", "channels-last", "tokens"] = "map"
    height: int = 0
    width: int = 0
    extra: int = 0

    def maps(self, output: Tensor) -> Tensor:
        """The places of an output, [N, K, h, w]; a view."""
        if self.kind == "map":
            return output
        if self.kind == "channels-last":
            return output.movedim(-1, 1)
        places = output[:, self.extra :].mT
        return places.view(*places.shape[:2], self.height, self.width)

    def beside(self, output: Tensor) -> Tensor:
        """What an output holds beside its places, [N, K, extra]; a view."""
        return output[:, : self.extra].mT if self.kind == "tokens" else self.maps(output)[:, :, 0, :0]

    def output(self, maps: Tensor, beside: Tensor) -> Tensor:
        """The output with these places [N, K, h, w] and what is beside them [N, K, extra]."""
        if self.kind == "map":
            return maps
        if self.kind == "channels-last":
            return maps.movedim(1, -1)
        return torch.cat([beside, maps.flatten(2)], 2).mT


MAP = Grid()
