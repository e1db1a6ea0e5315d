"""Training in bf16: the network computes in bfloat16 where that is safe; weights, logits and losses stay float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bf16(nn.Module):
    """A classifier asked under autocast, [n, C, H, W] in [0, 1] -> float32 logits [n, K]."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Logits; the cast to float32 also carries gradients back."""
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.classifier(images)
        return logits.float()


def asked_in(precision: str, classifier: nn.Module) -> nn.Module:
    """What recipes ask: the classifier itself, or in bf16."""
    return Bf16(classifier) if precision == "bf16" else classifier
