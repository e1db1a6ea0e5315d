"""Kinds of operations in the canonical form, for methods that have a rule for each kind rather than for each name.

Modules are told apart by type, functions and methods of tensors by themselves.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from xaicli.errors import UnavailableError
from xaicli.models.lifting import Cat, Mean

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.Upsample, Mean)
"""Sums with non-negative weights that nobody has trained."""
PADS = (nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d)
MOVES = (nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, Cat, *PADS)
"""Values come to other places, once or more often, and stay what they are."""
ELEMENTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Softsign, nn.LogSigmoid),
)
GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Softmax)
"""What is bounded, and by nature a share of what it is multiplied with."""
MAXIMA = (nn.MaxPool2d, nn.AdaptiveMaxPool2d)

MOVING: frozenset[Any] = frozenset(
    {
        *(operator.getitem, torch.cat, torch.stack, torch.chunk, torch.split, torch.unbind, torch.roll, F.pad),
        *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze),
        *(torch.swapaxes, torch.swapdims, torch.movedim, F.pixel_shuffle),
        *("chunk", "split", "unbind", "flatten", "unflatten", "reshape", "view", "permute", "transpose", "squeeze"),
        *("unsqueeze", "roll", "expand", "expand_as", "repeat", "contiguous", "clone", "swapaxes", "swapdims"),
        "movedim",
    }
)
ADDING: frozenset[Any] = frozenset({operator.add, torch.add, "add"})
SUBTRACTING: frozenset[Any] = frozenset({operator.sub, torch.sub, "sub"})
NEGATING: frozenset[Any] = frozenset({operator.neg, torch.neg, "neg"})
SUMMING: frozenset[Any] = frozenset({torch.sum, "sum", torch.mean, "mean"})
MULTIPLYING: frozenset[Any] = frozenset({operator.mul, torch.mul, "mul"})
DIVIDING: frozenset[Any] = frozenset({operator.truediv, torch.div, "div"})


def is_plain(module: nn.Module) -> bool:
    """Whether a norm is the affine map of its running statistics; of other modules always true."""
    return getattr(module, "running_mean", True) is not None


def no_rule(
    method: str, kind: str, name: str, instead: str = "a method that needs none, such as integrated-gradients"
) -> UnavailableError:
    """What a method raises that needs a rule for every operation and has none for this one."""
    return UnavailableError(f"{method} has no rule for the network's '{kind}' ({name}); use {instead}.")
