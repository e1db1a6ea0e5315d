"""A multilayer perceptron with Gaussian weights, the Bayesian network of MNIST."""

from __future__ import annotations

from torch import nn

from xaicli.errors import UsageError
from xaicli.models.bayesian import to_mean_field
from xaicli.models.mlp import mlp
from xaicli.signatures import Count, Positive

_WIDEST_SIGMA = 1.0  # at which nothing can be learned any more


def bnn_mlp(
    classes: int, channels: int, size: tuple[int, int], *, hidden: tuple[Count, ...] = (1024,), sigma: Positive = 0.01
) -> nn.Module:
    """`mlp` whose weights and biases are independent Gaussians (Blundell et al., 2015); it answers by their means.

    hidden: widths of the hidden layers, `hidden=400,400`. sigma: every weight's standard deviation before training, at
    most 1. Twice the parameters of the mlp: 1,628,180 for 1x28x28 images and 10 classes (784-1024-10).
    """
    if not 0 < sigma <= _WIDEST_SIGMA:
        raise UsageError(f"a bnn-mlp cannot have sigma={sigma:g}; choose a number from 0 to {_WIDEST_SIGMA:g}, not 0.")
    network = mlp(classes, channels, size, hidden=hidden)
    to_mean_field(network, sigma=sigma)
    return network
