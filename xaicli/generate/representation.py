"""What a network makes of an image inside: a layer's map, or the features that its last linear layer is given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.errors import InputError
from xaicli.models.ensemble import Ensemble
from xaicli.models.watch import input_in, output_in
from xaicli.run.calls import Calls

FEATURES = "features"


@dataclass(frozen=True)
class Representation:
    """A layer by name, `auto` for the last spatial one, `features` for what the last linear layer is given."""

    layer: str

    def width(self, calls: Calls) -> int:
        """Its number of channels; InputError where there is no such layer."""
        if isinstance(calls.classifier.network, Ensemble):
            raise InputError(
                "an ensemble has no layer of its own to look into, only those of its networks; drive its logits, or "
                "generate from one of its networks."
            )
        return calls.head().width if self.layer == FEATURES else calls.find(self.layer).channels

    def of(self, calls: Calls, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n, K] and the layer's maps [n, D, h, w] (1x1 for features), differentiable down to the image."""
        if self.layer == FEATURES:
            with input_in(calls.head().layer) as inputs:
                logits = calls.classifier(images)
            return logits, inputs[0][:, :, None, None]
        with output_in(calls.layer(self.layer)) as outputs:
            logits = calls.classifier(images)
        return logits, calls.find(self.layer).grid.maps(outputs[0])

    def flat(self, calls: Calls, images: Tensor) -> Tensor:
        """All numbers of the layer for any number of images, [n, D h w]."""
        with torch.no_grad():
            (found,) = calls.each(lambda x: (self.of(calls, x)[1].flatten(1),), images)
        return found
