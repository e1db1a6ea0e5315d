"""Full-gradient decomposition: what the input and every bias of the network contribute to the explained quantity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from xaicli.explain.block import Block, Scored, anchor, score_of
from xaicli.explain.explanation import Explanation, PixelMaps
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards


@dataclass(frozen=True)
class BiasPass(Scored):
    """One forward and one backward through all layers."""

    gradient: Tensor  # [n, C, H, W], at the image
    maps: Tensor  # [n, 1, H, W], the biases of all layers with maps, each scaled to [0, 1] and summed
    share: Tensor  # [n], what all biases together add to the quantity, float64


def fullgrad(bias_pass: BiasPass, image: Tensor) -> Explanation[PixelMaps]:
    """FullGrad: the image's and every bias's share of the quantity, summed (Srinivas and Fleuret, 2019).

    Channels of image x gradient and, at every convolution and normalisation, of bias x gradient are made positive,
    scaled to [0, 1], upsampled and added up. Returns [n, 1, H, W], non-negative, no unit. The stored gap is that of the
    identity behind it, f(x) = x.g + sum of bias x gradient: 0 for logits of networks whose activations are ReLUs, which
    add nothing of their own (a ReLU6 does where it is cut off).
    """
    product = bias_pass.gradient * image
    total = product.double().sum(3).sum(2).sum(1)  # in steps: a sum to one number may be split among threads
    gap = total + bias_pass.share - bias_pass.score.double()
    return Explanation(_scaled(product) + bias_pass.maps, gap)


@anchor
@forwards(1)
def bias_pass(block: Block) -> BiasPass:
    """The gradient at the image, and at every bias; a layer's is used as soon as the backward passes it."""
    classifier = block.calls.classifier
    size = tuple(block.images.shape[2:])

    def ask(images: Tensor, labels: Tensor) -> Answer:
        images = images.requires_grad_()
        maps = images.new_zeros(len(images), 1, *size)
        share = images.new_zeros(len(images), dtype=torch.float64)

        def add(product: Tensor) -> None:
            share.add_(product.reshape(len(images), -1).double().sum(1))  # windows of an image come one after another
            if product.dim() == 4 and len(product) == len(images):
                maps.add_(interpolate(_scaled(product), size=size, mode="bilinear", align_corners=False))

        with _watched(classifier.network, add):
            logits = classifier(images)
            target, against, value = score_of(block, logits, labels)
            (gradient,) = torch.autograd.grad(value.sum(), images)
        # the normalisation in front of the network is a layer too: its bias is -mean / std
        share -= (classifier.mean * gradient).flatten(1).double().sum(1)
        return logits.detach(), target, against, value.detach(), gradient, maps, share

    return BiasPass(*block.calls.each(ask, block.images, block.labels))


def bias_of(module: nn.Module) -> Tensor | None:
    """What a layer adds to its output, [K]; None for a layer without bias.

    The bias of BatchNorm is beta - mean gamma / sd. Other normalisations add theirs to what is not linear.
    """
    bias = getattr(module, "bias", None)
    bias = bias if isinstance(bias, Tensor) else None
    if isinstance(module, _BatchNorm) and module.running_mean is not None:
        shift = -module.running_mean * _slope(module)
        bias = shift if bias is None else bias + shift
    return bias if isinstance(module, (_ConvNd, _BatchNorm, nn.GroupNorm, nn.Linear, nn.LayerNorm)) else None


def _slope(norm: _BatchNorm) -> Tensor:
    assert norm.running_var is not None
    slope = (norm.running_var + norm.eps).rsqrt()
    return slope if norm.weight is None else slope * norm.weight


def _does_more(module: nn.Module) -> bool:
    """Whether a normalisation goes on to something else, as timm's do to their activation."""
    return isinstance(module, _BatchNorm) and type(module).forward is not _BatchNorm.forward


def _product(module: nn.Module, bias: Tensor, gradient: Tensor) -> Tensor:
    """Bias times gradient in the gradient's shape, the channels of a map [n, h, w, K] moved to the front."""
    on_last_axis = isinstance(module, (nn.Linear, nn.LayerNorm)) and not type(module).__name__.endswith("2d")
    if on_last_axis:
        return (bias * gradient).movedim(-1, 1) if bias.dim() == 1 else bias * gradient
    return bias.view(-1, *[1] * (gradient.dim() - 2)) * gradient


@contextmanager
def _watched(network: nn.Module, add: Callable[[Tensor], None]) -> Iterator[None]:
    """Tell `add` every layer's bias times the gradient at its output while the backward goes by."""

    def hook(module: nn.Module, _inputs: object, output: object) -> None:
        bias = bias_of(module)
        if bias is None or _does_more(module) or not isinstance(output, Tensor) or not output.requires_grad:
            return
        known = bias.detach()
        output.register_hook(lambda gradient: add(_product(module, known, gradient)))  # type: ignore[no-untyped-call]

    def hook_before(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The gradient right behind the normalisation, from that in front of it, which nothing else shares."""
        bias, slope = bias_of(norm), _slope(norm).detach()
        if bias is None or not inputs[0].requires_grad:
            return inputs
        quotient = bias.detach() / torch.where(slope == 0, torch.inf, slope)
        own = inputs[0].view_as(inputs[0])
        own.register_hook(lambda gradient: add(_product(norm, quotient, gradient)))  # type: ignore[no-untyped-call]
        return (own, *inputs[1:])

    modules = [module for module in network.modules() if bias_of(module) is not None]
    handles = [module.register_forward_hook(hook) for module in modules]
    handles += [one.register_forward_pre_hook(hook_before) for one in modules if _does_more(one)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scaled(product: Tensor) -> Tensor:
    """The absolute values of channels [n, K, h, w], each scaled to [0, 1] (0 if all are equal), summed: [n, 1, h, w].

    Upsampling them one by one and then adding up would be the same.
    """
    strength = product.abs()
    low, high = strength.amin((2, 3), keepdim=True), strength.amax((2, 3), keepdim=True)
    return ((strength - low) / torch.where(high > low, high - low, 1)).sum(1, keepdim=True)


QUERIES = (bias_pass,)
