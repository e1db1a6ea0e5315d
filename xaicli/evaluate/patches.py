"""Random square patches replaced by a baseline: drawn and asked once, whatever explainer is judged by them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.perturbed import perturbed_logits, replaced
from xaicli.run.plan import forwards
from xaicli.run.random import Stream


@dataclass(frozen=True)
class Patches:
    """Squares within the image, and the logits [n, draws, K] when they are replaced."""

    top: Tensor  # int64 [n, draws], as are the next two
    left: Tensor
    side: Tensor
    logits: Tensor

    def sums(self, maps: Tensor) -> Tensor:
        """The sum of each map [n, H, W] within each of its patches, float64 [n, draws]."""
        whole = torch.nn.functional.pad(maps.double(), (1, 0, 1, 0)).cumsum(1).cumsum(2)
        rows = torch.arange(len(maps), device=maps.device).unsqueeze(1)
        bottom, right = self.top + self.side, self.left + self.side
        above = whole[rows, self.top, right] - whole[rows, self.top, self.left]
        return whole[rows, bottom, right] - whole[rows, bottom, self.left] - above


@forwards(lambda draws: draws)
def patch_removal(
    subject: Subject, baseline_image: Tensor, stream: Stream, *, draws: int = 100, largest: float = 0.35
) -> Patches:
    """Squares of every side from one pixel to that share of the image's shorter side, at random places."""
    images = subject.images
    height, width = images.shape[2:]
    most = min(max(1, round(largest * min(height, width))), height, width)
    drawn = torch.as_tensor(stream.uniform((draws, 3))).double().to(images.device)
    side = 1 + (drawn[..., 0] * most).long()
    top = (drawn[..., 1] * (height + 1 - side)).long()
    left = (drawn[..., 2] * (width + 1 - side)).long()
    down, across = (torch.arange(length, device=images.device) for length in (height, width))

    def perturb(row: int, numbers: Tensor) -> Tensor:
        y, x, s = (part[row, numbers].unsqueeze(1) for part in (top, left, side))
        rows, columns = (down >= y) & (down < y + s), (across >= x) & (across < x + s)
        return replaced(images[row], baseline_image[row], rows.unsqueeze(2) & columns.unsqueeze(1))

    return Patches(top, left, side, perturbed_logits(subject, draws, perturb))


QUERIES = (patch_removal,)
