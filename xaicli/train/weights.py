"""Adversarial weight perturbation: the loss at nearby weights where it is larger (Wu et al., 2020)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from xaicli.train.batch import Batch

GAMMA = 5e-3  # of a layer's norm
WARM_UP = 0.05  # of the training: 10 of 200 epochs (Wu et al., 2020)

Ask = Callable[[Tensor], Tensor]


def loss_of(loss: Callable[[Ask], Tensor], batch: Batch, awp: bool) -> Tensor:
    """The loss of the batch's classifier; with `awp`, after the warm-up, at the weights moved against it.

    loss: asks a model, given as a function from images to logits, and compares. The weights themselves stay where they
    are; its gradient in them is the one at the moved ones.
    """
    if not awp or batch.done < WARM_UP:
        return loss(batch.classifier)
    return loss(_with(batch.classifier, moved_weights(loss, batch.classifier)))


def moved_weights(loss: Callable[[Ask], Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Every layer's weights, moved up the loss by GAMMA of their norm; biases and normalisations are left out.

    BatchNorm's running statistics do not see the question.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.dim() > 1 and weight.requires_grad}
    unseen = {name: buffer.clone() for name, buffer in model.named_buffers()}
    here = loss(_with(model, unseen))
    slopes = torch.autograd.grad(here, list(weights.values()), allow_unused=True, materialize_grads=True)
    return {
        name: weight + _stride(weight.detach(), slope)
        for (name, weight), slope in zip(weights.items(), slopes, strict=True)
    }


def _stride(weight: Tensor, slope: Tensor) -> Tensor:
    length = slope.norm()
    return torch.where(length > 0, GAMMA * weight.norm() / length, 0.0) * slope


def _with(model: nn.Module, tensors: dict[str, Tensor]) -> Ask:
    def ask(images: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, tensors, (images,))
        return logits

    return ask
