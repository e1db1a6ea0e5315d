"""How the learning rate goes over a training, step by step."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from xaicli.errors import UsageError


def learning_rate(name: str, optimizer: Optimizer, steps: int) -> LRScheduler | None:
    """The schedule of that name over so many steps; the optimizer's rate is the highest. None for a constant rate.

    Raises UsageError for a training that is too short for it.
    """
    if name == "constant":
        return None
    if name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    if name == "cyclic":
        return LambdaLR(optimizer, lambda step: _triangle((step + 0.5) / steps))
    if name == "piecewise":
        return LambdaLR(optimizer, lambda step: _drops(step / steps))
    peak = float(optimizer.param_groups[0]["lr"])
    if steps < 2:
        raise UsageError("one-cycle needs at least two training steps; add epochs or use schedule=constant.")
    return OneCycleLR(optimizer, max_lr=peak, total_steps=steps, cycle_momentum=False)


def _triangle(done: float) -> float:
    """From 0 up to 1 at half of the training, and down to 0 (Wong et al., 2020)."""
    return max(1 - abs(2 * done - 1), 0.0)


def _drops(done: float) -> float:
    """A tenth after half of the training, and of that a tenth after three quarters (Rice et al., 2020)."""
    return 0.1 ** ((done >= 0.5) + (done >= 0.75))
