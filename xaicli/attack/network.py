"""What attacks ask: the classifier, or while they search a faster form of it whose verdicts it has to confirm."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from xaicli.attack.loss import Loss
from xaicli.attack.plan import Asked, Samples
from xaicli.run.calls import Calls


class Network:
    """Batches of exactly `width` points for one attack.

    faster: BatchNorms are folded, where the network allows it. bf16: questions are answered in bfloat16.
    """

    def __init__(self, calls: Calls, *, faster: bool = False, bf16: bool = False) -> None:
        self.calls, self.width = calls, calls.batch_size
        self.searched: nn.Module = calls.folded() if faster else calls.classifier
        self.bf16 = bf16
        self.live = self.width  # lanes of the next question that hold a sample

    @property
    def is_itself(self) -> bool:
        """Whether the classifier itself is asked, so that nothing needs to be confirmed."""
        return self.searched is self.calls.classifier and not self.bf16

    def gradient(self, points: Tensor, loss: Loss, samples: Samples) -> Asked:
        """Logits [n, K], loss [n], and the loss's gradient, of all lanes."""
        points = points.detach().requires_grad_()
        logits = self._ask(points)
        value, slope = loss(logits.detach(), samples.labels, samples.aim)
        (gradient,) = torch.autograd.grad(logits, points, slope)
        # the network leaves its own memory order behind, in which elementwise steps take twice as long
        return Asked(logits.detach(), value, gradient.contiguous())

    def logits(self, points: Tensor) -> Tensor:
        """Logits [n, K] of all lanes."""
        with torch.no_grad():
            return self._ask(points)

    def truth(self, points: Tensor) -> Tensor:
        """What the classifier itself says of any number of points."""
        return self.calls.logits(points)

    def _ask(self, points: Tensor) -> Tensor:
        self.calls.forwards += self.live
        with self._precision():
            logits: Tensor = self.searched(points)
        return logits.to(points.dtype)

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.calls.device.type, torch.bfloat16) if self.bf16 else nullcontext()
