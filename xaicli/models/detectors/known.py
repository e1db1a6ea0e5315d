"""What detectors are fitted on: rows of the classes that a network was trained on, and of no other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from xaicli.errors import InputError
from xaicli.models.head import Head


@dataclass(frozen=True, eq=False)
class Known:
    """What one pass has made of known rows, and the layer that turned features into logits.

    features: [n, D]. logits: [n, K]. labels: int64 [n]. weight: [K, D]. bias: [K], zeros where the layer has none.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    weight: Tensor
    bias: Tensor

    def on_cpu(self) -> Known:
        """The same with the layer where the rows are, which a pass over a data set leaves there."""
        return replace(self, weight=self.weight.cpu(), bias=self.bias.cpu())


def known_rows(features: Tensor, logits: Tensor, labels: Tensor, head: Head) -> Known:
    """The rows that detectors are fitted on.

    Raises InputError where there are none, where one is not of a known class (0 to K - 1), so that an unknown one never
    gets into a fit, or where one is not finite.
    """
    if not len(labels):
        raise InputError("there are no known rows to fit a detector on; hold more data out.")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise InputError(
            f"a detector is fitted on known rows alone, with labels from 0 to {logits.shape[1] - 1}, but one is "
            f"{int(labels.max() if labels.min() >= 0 else labels.min())}; leave the rows of other classes out."
        )
    if not (features.isfinite().all() and logits.isfinite().all()):
        raise InputError("a known row has features or logits that are not finite; train the model again.")
    weight = head.layer.weight.detach()
    bias = weight.new_zeros(len(weight)) if head.layer.bias is None else head.layer.bias.detach()
    return Known(features.detach(), logits.detach(), labels, weight.clone(), bias.clone())
