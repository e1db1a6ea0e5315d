"""Gradients of single samples by one backward for each: what everything else has to equal."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xaicli.models.classifier import Classifier
from xaicli.train.private.clipped import Clipped

Gradients = dict[str, Tensor]


def trained(classifier: Classifier) -> Gradients:
    return {name: parameter for name, parameter in classifier.named_parameters() if parameter.requires_grad}


def alone(classifier: Classifier, images: Tensor, labels: Tensor, copies: int = 1) -> list[Gradients]:
    """Of each sample, the gradients of the mean loss of its copies, by a classifier in evaluation mode."""
    parameters = trained(classifier)
    samples = []
    for x, y in zip(images.split(copies), labels.split(copies), strict=True):
        found = torch.autograd.grad(
            cross_entropy(classifier(x), y), list(parameters.values()), allow_unused=True, materialize_grads=True
        )
        samples.append(dict(zip(parameters, found, strict=True)))
    return samples


def norms_of(samples: list[Gradients]) -> Tensor:
    return torch.stack([torch.cat([part.flatten() for part in sample.values()]).norm() for sample in samples])


def clipped_sum(samples: list[Gradients], threshold: float) -> Gradients:
    """The sum of g min(1, threshold/|g|), written down as it is defined."""
    factors = [min(1.0, threshold / norm) if norm else 1.0 for norm in norms_of(samples).tolist()]
    return {name: sum(f * s[name] for f, s in zip(factors, samples, strict=True)) for name in samples[0]}  # type: ignore[misc]


def add(clipped: Clipped, images: Tensor, labels: Tensor) -> Tensor:
    clipped.model.train()
    return clipped.add(cross_entropy(clipped.model(images), labels, reduction="none"))


def largest_difference(classifier: Classifier, expected: Gradients) -> float:
    """Between what was added to `.grad` and what is expected, as a share of the largest parameter's."""
    scale = max(part.norm().item() for part in expected.values())
    return max(
        (parameter.grad - expected[name]).norm().item() / scale for name, parameter in trained(classifier).items()
    )


def errors(classifier: Classifier, *, samples: int = 3, copies: int = 1, classes: int = 5) -> tuple[float, float]:
    """How far norms (relative) and clipped sums are off, for random images; the median norm is the threshold."""
    classifier.eval()
    random = torch.Generator().manual_seed(3)
    images = torch.rand((samples * copies, *classifier.shape), generator=random).to(classifier.mean)
    labels = torch.randint(0, classes, (len(images),), generator=random)
    one_by_one = alone(classifier, images, labels, copies)
    norms = norms_of(one_by_one)
    threshold = norms.median().item()
    found = add(Clipped(classifier, threshold, copies), images, labels)
    off = ((found - norms).abs() / norms).max().item()
    return off, largest_difference(classifier, clipped_sum(one_by_one, threshold))
