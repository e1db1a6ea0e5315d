"""A trial of clipped gradients before they are relied on: a few random images, against one backward per sample.

A rule that is wrong for some network would spoil the privacy of everything trained with it, and nothing else would
tell; so every training begins with this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from xaicli.errors import InputError
from xaicli.models.classifier import Classifier

SAMPLES = 3  # one that is clipped, one that is not, and one at the threshold
TRIES = 3  # for rounding may move a value to the other side of a ReLU; a wrong rule fails in all
TOLERANCE = 1e-2  # of a gradient: far above rounding, far below a term that is missing
FLOOR = 1e-4  # of all gradients: where a parameter's own one is nothing but rounding
SPREAD = 0.3

Add = Callable[[Tensor, float], Tensor]


def try_out(classifier: Classifier, model: nn.Module, add: Add, images: Tensor) -> None:
    """Compare norms and clipped sums; raises InputError naming the layer that differs in every try.

    model: from pixels to logits, as it will be asked. add: takes losses [3 K] and a threshold, adds to `.grad`, and
    returns norms. images: [tries, 3 K, C, H, W] in [0, 1]. Gradients, modes and parameters are left as they were.
    """
    with _as_before(classifier, model), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        problem: str | None = None
        for some in images:
            problem = _difference(classifier, model, add, some)
            if problem is None:
                return
        raise InputError(f"{problem}, so it cannot be trained privately; use another architecture.")


def _difference(classifier: Classifier, model: nn.Module, add: Add, images: Tensor) -> str | None:
    trained = {name: p for name, p in classifier.named_parameters() if p.requires_grad}
    classifier.eval()
    with torch.no_grad():
        labels = classifier(images).argmin(1)  # which no network is content with
    pairs = zip(images.chunk(SAMPLES), labels.chunk(SAMPLES), strict=True)
    alone = [_gradients(cross_entropy(classifier(x), y), list(trained.values())) for x, y in pairs]
    norms = torch.stack([torch.stack([part.norm() for part in parts]).norm() for parts in alone])
    threshold = norms.median().item()
    factors = (threshold / norms).clamp(max=1).tolist()
    for parameter in trained.values():
        parameter.grad = None
    model.train()
    found = add(cross_entropy(model(images), labels, reduction="none"), threshold)
    if not torch.allclose(found, norms, rtol=TOLERANCE):
        return _said("the network", found, norms)
    for number, (name, parameter) in enumerate(trained.items()):
        assert parameter.grad is not None
        expected = torch.zeros_like(parameter)
        for factor, parts in zip(factors, alone, strict=True):
            expected += factor * parts[number]
        error = (parameter.grad - expected).norm()
        if not error <= TOLERANCE * expected.norm() + FLOOR * threshold:
            return _said(f"the layer '{name}'", parameter.grad.norm(), expected.norm())
    return None


def _said(what: str, found: Tensor, expected: Tensor) -> str:
    return f"{what} has other gradients in a batch ({_shown(found)}) than image by image ({_shown(expected)})"


def _shown(values: Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in values.flatten().tolist())


def _gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if part is None else part for p, part in zip(parameters, found, strict=True)]


@contextmanager
def _as_before(classifier: Classifier, model: nn.Module) -> Iterator[None]:
    """Gradients, modes and weights put back; meanwhile no weight is constant.

    Of fresh networks many are: a head of zeros hides all other layers, a norm's factor of 1 what should use it.
    """
    random = torch.Generator().manual_seed(1)
    modes = [(module, module.training) for module in (*classifier.modules(), model)]
    gradients = [(p, p.grad) for p in classifier.parameters()]
    constant = [(p, p.detach().clone()) for p in classifier.parameters() if bool((p == p.flatten()[:1]).all())]
    try:
        for parameter, _ in constant:
            noise = torch.randn(parameter.shape, generator=random).to(parameter)
            parameter.data.add_(noise, alpha=SPREAD)
        yield
    finally:
        for parameter, before in constant:
            parameter.data.copy_(before)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, training in modes:
            module.training = training
