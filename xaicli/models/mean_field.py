"""Linear layers and convolutions whose weights are independent Gaussians, w = mean + softplus(rho) e.

Mean-field variational inference (Blundell et al., 2015, "Weight uncertainty in neural networks"). A layer computes with
the means, whether in training or evaluation mode, until it is told to draw. Then it does not draw weights but what
comes out of them: the sum over Gaussian weights is Gaussian, so every output is mean + sqrt(variance) e with a number
of its own (Kingma et al., 2015, "Variational dropout and the local reparameterization trick"). Rows are independent of
each other then, and gradients far less noisy.

For a linear layer on one vector that is the distribution of its output under drawn weights exactly. A convolution uses
one kernel at all places, and a layer on tokens one matrix for all, which would correlate them; drawn apart, as Kingma
et al. do, each place's distribution is right and their correlation is lost. Whoever needs one function at all places
and for all rows, such as an attribution, takes weights that are drawn as such: `plain` in `bayesian.py`.

How a draw is addressed: whoever draws gives `Noise`, which is asked for standard normal numbers by a name and the shape
of one row. The name is the layer's number among the network's mean-field layers and, when a layer is called again, the
number of the call. Who made the noise has put into it what else a draw belongs to: a seed, a stream (which draw it is)
and the rows' numbers in their data set, so that a row draws the same whatever rows are beside it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaicli.errors import InputError
from xaicli.models.wide_resnet import StandardisedConv2d, standardised

Noise = Callable[[str, Sequence[int]], Tensor]
"""Standard normal numbers [n, *shape] by name and shape; n counts the rows of the batch, or sets of weights."""


class MeanField(nn.Module, ABC):
    """A layer that is linear in its weights, which have a mean and a deviation each; the bias, too, if there is one."""

    bias_mean: Tensor | None
    bias_rho: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, sigma: float) -> None:
        super().__init__()
        self.weight_mean, self.weight_rho = weight, _rho(weight, sigma)
        self.bias_mean, self.bias_rho = bias, None if bias is None else _rho(bias, sigma)
        self.drawn: Callable[[Sequence[int]], Tensor] | None = None

    @abstractmethod
    def apply_weights(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What the layer computes with given weights."""

    @abstractmethod
    def plain(self, weight: Tensor, bias: Tensor | None) -> nn.Module:
        """The ordinary layer with these weights, which get no gradient."""

    def centre(self) -> Tensor:
        """The mean of the weights."""
        return self.weight_mean

    def posterior(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and deviation of the `weight` and, if there is one, of the `bias`."""
        found: dict[str, tuple[Tensor, Tensor]] = {"weight": (self.centre(), F.softplus(self.weight_rho))}
        if self.bias_mean is not None and self.bias_rho is not None:
            found["bias"] = (self.bias_mean, F.softplus(self.bias_rho))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] -> [N, ...], of the means, or drawn for each row by itself."""
        mean = self.apply_weights(x, self.centre(), self.bias_mean)
        if self.drawn is None:
            return mean
        bias = None if self.bias_rho is None else F.softplus(self.bias_rho).square()
        variance = self.apply_weights(x.square(), F.softplus(self.weight_rho).square(), bias)
        noise = self.drawn(mean.shape[1:])
        if len(noise) != len(mean):
            raise InputError(
                f"a layer with uncertain weights has to draw for {len(noise)} images and is asked about {len(mean)} "
                "rows, which it cannot tell apart; keep that layer as it was."
            )
        # an output without a variance, such as a dark patch's, would have an infinite slope
        return mean + variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt() * noise.to(variance.dtype)


class MeanFieldLinear(MeanField):
    """A linear layer with Gaussian weights; their means are the given layer's own parameters."""

    def __init__(self, layer: nn.Linear, sigma: float) -> None:
        super().__init__(layer.weight, layer.bias, sigma)

    def apply_weights(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """[N, ..., D] -> [N, ..., K]."""
        return F.linear(x, weight, bias)

    def plain(self, weight: Tensor, bias: Tensor | None) -> nn.Linear:
        """The linear layer with these weights."""
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        _fill(layer, weight, bias)
        return layer


class MeanFieldConv2d(MeanField):
    """A convolution, padded by zeros, with Gaussian weights; their means are the given layer's own parameters."""

    def __init__(self, layer: nn.Conv2d, sigma: float) -> None:
        super().__init__(layer.weight, layer.bias, sigma)
        self.stride, self.dilation = _pair(layer.stride), _pair(layer.dilation)
        self.padding = layer.padding if isinstance(layer.padding, str) else _pair(layer.padding)
        self.groups = layer.groups

    def apply_weights(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """[N, C, H, W] -> [N, K, h, w]."""
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def plain(self, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
        """The convolution with these weights."""
        width, channels, height, across = weight.shape
        layer = nn.Conv2d(
            channels * self.groups,
            width,
            (height, across),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            bias is not None,
            device="meta",
        )
        _fill(layer, weight, bias)
        return layer


class MeanFieldStandardisedConv2d(MeanFieldConv2d):
    """A standardised convolution with Gaussian kernels: their mean is standardised, and the deviations are its own.

    What is uncertain are the kernels that are multiplied with, so that outputs are still Gaussian.
    """

    def __init__(self, layer: StandardisedConv2d, sigma: float) -> None:
        super().__init__(layer, sigma)
        self.gain = layer.gain

    def centre(self) -> Tensor:
        """The standardised mean."""
        return standardised(self.weight_mean, self.gain)


def mean_field_layers(network: nn.Module) -> list[MeanField]:
    """A network's layers with uncertain weights, each once, in the order in which draws number them."""
    return [module for module in network.modules() if isinstance(module, MeanField)]


@contextmanager
def drawing(network: nn.Module, noise: Noise) -> Iterator[None]:
    """Within, the network's layers draw their outputs, for each row by itself.

    A layer that is called again, in one forward or in the next, draws other numbers; entering again repeats them.
    """
    layers = mean_field_layers(network)
    before = [layer.drawn for layer in layers]
    for number, layer in enumerate(layers):
        layer.drawn = _calls_of(noise, number)
    try:
        yield
    finally:
        for layer, drawn in zip(layers, before, strict=True):
            layer.drawn = drawn


def rho_of(sigma: float) -> float:
    """The number whose softplus is sigma > 0, without overflow."""
    return sigma + math.log(-math.expm1(-sigma))


def _calls_of(noise: Noise, number: int) -> Callable[[Sequence[int]], Tensor]:
    calls = 0

    def drawn(shape: Sequence[int]) -> Tensor:
        nonlocal calls
        calls += 1
        return noise(f"layer:{number}" if calls == 1 else f"layer:{number}:{calls}", shape)

    return drawn


def _pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    first, second = numbers
    return first, second


def _rho(mean: Tensor, sigma: float) -> nn.Parameter:
    return nn.Parameter(torch.full_like(mean, rho_of(sigma)), requires_grad=mean.requires_grad)


def _fill(layer: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
