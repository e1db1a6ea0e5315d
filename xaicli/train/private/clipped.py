"""The sum of clipped per-sample gradients, from one forward and one backward of a whole batch.

By book-keeping (Bu et al., 2023, "Differentially private optimization on large model at small cost"): the backward
only asks for gradients at the outputs of layers with weights; with what went into those layers they tell every sample's
norm, and then the one sum that is needed. No gradient of the batch as a whole is computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xaicli.errors import InputError
from xaicli.models.classifier import Classifier
from xaicli.models.contract import first_line
from xaicli.train.private.gradients import Dense, Gradient, added
from xaicli.train.private.trial import SAMPLES, TRIES, try_out
from xaicli.train.private.watched import Call, Tape, watched


class Asked(Classifier):
    """The classifier in canonical form. In training mode, forwards with gradients are noted on the tape."""

    def __init__(self, classifier: Classifier, form: nn.Module, tape: Tape) -> None:
        mean, std = classifier.mean.flatten().tolist(), classifier.std.flatten().tolist()
        super().__init__(form, mean, std, classifier.class_names, classifier.shape, classifier.meta)
        self.mean, self.std, self.tape = classifier.mean, classifier.std, tape

    def train(self, mode: bool = True) -> Asked:
        """The form itself stays as it was made, in evaluation mode."""
        self.training = mode
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [N, C, H, W] in [0, 1] -> logits [N, K]."""
        self.tape.running = self.training and torch.is_grad_enabled()
        try:
            return super().forward(pixels)
        finally:
            self.tape.running = False


class Clipped:
    """Clipped gradients of one classifier: ask `model` for logits, hand the losses to `add`.

    multiplicity: how many images next to each other are augmentations of one sample. Parameters that require gradients
    now are trained; Dropout and stochastic depth are left out. Raises InputError, naming the layer, if the network
    cannot give per-sample gradients.
    """

    def __init__(self, classifier: Classifier, max_grad_norm: float, multiplicity: int = 1) -> None:
        self.max_grad_norm, self.multiplicity = max_grad_norm, multiplicity
        _refuse_mixing(classifier)
        self._trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
        self._homes: dict[int, list[Tensor]] = {}
        for parameter in self._trained:
            self._homes.setdefault(parameter.untyped_storage().data_ptr(), []).append(parameter)
        self._tape = Tape()
        random = torch.Generator().manual_seed(0)
        example = torch.randn((3, *classifier.shape), generator=random).to(classifier.mean)
        self.model = Asked(classifier, watched(classifier.network, example, self._tape), self._tape)
        copies = min(multiplicity, 2)  # enough to tell, in no more memory than training takes
        images = torch.rand((TRIES, SAMPLES * copies, *classifier.shape), generator=random).to(classifier.mean)
        try_out(classifier, self.model, lambda losses, norm: self._add(losses, norm, copies), images)

    def add(self, losses: Tensor) -> Tensor:
        """Add the samples' clipped gradients to every trained parameter's `.grad`; returns the norms [n] before.

        losses: [n K] of images; a sample's gradient is the mean over its K images. Raises InputError if a loss or a
        norm is not finite.
        """
        return self._add(losses, self.max_grad_norm, self.multiplicity)

    def _add(self, losses: Tensor, max_grad_norm: float, copies: int) -> Tensor:
        calls = self._tape.take()
        for parameter in self._trained:
            _gradient(parameter)
        samples, rest = divmod(len(losses), copies)
        if rest:
            raise ValueError(f"{len(losses)} losses are not {copies} of every sample")
        if not samples:
            return losses.new_zeros(0)
        if not bool(losses.isfinite().all()):
            raise InputError("the training diverged: a loss is not finite; lower lr.")
        found = _gradients(calls, losses.sum() / copies, samples)
        with torch.no_grad():
            norms: Tensor = torch.linalg.vector_norm(torch.stack([part.norms() for _, part in found]), dim=0)
            if not bool(norms.isfinite().all()):
                raise InputError("the training diverged: a gradient is not finite; lower lr.")
            factors = (max_grad_norm / norms).clamp(max=1)
            while found:
                weight, gradient = found.pop()
                self._gradient_of(weight).add_(gradient.total(factors))
        return norms

    def _gradient_of(self, weight: Tensor) -> Tensor:
        """Where the gradient of a weight belongs: a part of `.grad` if it is a view of a part of a parameter."""
        for home in self._homes.get(weight.untyped_storage().data_ptr(), []):
            gradient, offset = _gradient(home), weight.storage_offset() - home.storage_offset()
            if home is weight:
                return gradient
            if 0 <= offset < home.numel() and gradient.stride() == home.stride():
                return gradient.as_strided(weight.shape, weight.stride(), gradient.storage_offset() + offset)
        raise InputError("the network computes with a copy of a parameter; use another architecture.")


def _refuse_mixing(classifier: Classifier) -> None:
    still = {id(module) for module in classifier.still}
    for name, module in classifier.network.named_modules():
        if isinstance(module, _BatchNorm) and module.training and id(module) not in still:
            raise InputError(
                f"the BatchNorm '{name}' mixes the images of a batch, so there is no gradient of a single one; "
                "put it into evaluation mode, or a GroupNorm in its place."
            )


def _gradients(calls: list[Call], loss: Tensor, samples: int) -> list[tuple[Tensor, Gradient]]:
    """All parameters that the loss depends on, each once, with its samples' gradients."""
    asked: list[Any] = list(torch.autograd.grad(loss, [call.asked for call in calls], allow_unused=True))
    found: dict[Tensor, list[Gradient]] = {}
    while calls:
        call, gradient = calls.pop(), asked.pop()
        if gradient is None:  # of a forward that is no part of the loss
            continue
        for weight, part in zip(call.weights, _of_call(call, gradient, samples), strict=True):
            if weight is not None and part is not None:
                found.setdefault(weight, []).append(part)
    for weight in [weight for weight in found if not weight.is_leaf]:
        values = added(found.pop(weight)).multiplied()
        for leaf, gradients in _through(weight, values):
            found.setdefault(leaf, []).append(Dense(gradients))
    return [(weight, added(gradients)) for weight, gradients in found.items()]


@torch.no_grad()
def _of_call(call: Call, gradient: Tensor, samples: int) -> list[Gradient | None]:
    if len(call.asked) % samples:
        raise InputError(
            f"the layer '{call.name}' mixes images, so there is no gradient of a single one; use another architecture."
        )
    kind = next(weight.dtype for weight in call.weights if weight is not None)
    weights = [None if weight is None else weight.detach() for weight in call.weights]
    try:
        return call.rule.gradients(samples, call.data, weights, gradient.to(kind), call.wanted)
    except RuntimeError as error:  # an operation that torch cannot run sample by sample
        raise InputError(
            f"the layer '{call.name}' gives no gradient of a single image ({first_line(error)}); "
            "use another architecture."
        ) from None


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _through(weight: Tensor, values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """From gradients [n, ...] of a computed weight to those of the parameters that it was computed from."""
    leaves = _leaves(weight)
    found = torch.autograd.grad(weight, leaves, values, retain_graph=True, is_grads_batched=True)
    return list(zip(leaves, found, strict=True))


def _leaves(weight: Tensor) -> list[Tensor]:
    seen, waiting, leaves = set(), [weight.grad_fn], []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return leaves
