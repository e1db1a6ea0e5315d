"""Tiny networks with known behaviour, and short ways to put questions to a wing without files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from xaicli.explain.background import Background
from xaicli.explain.block import Block
from xaicli.explain.model import Judge
from xaicli.explain.quantity import parse_target
from xaicli.explain.queries import EXPLAIN
from xaicli.explain.run import Explainer
from xaicli.methods import TABLE
from xaicli.models.classifier import Classifier
from xaicli.models.detectors.logits import max_logit
from xaicli.run.calls import Calls
from xaicli.run.device import steady_sums
from xaicli.run.features import Training
from xaicli.run.plan import Answers
from xaicli.run.rejection import Rejector
from xaicli.specs import parse_spec

torch.set_num_threads(1)
steady_sums()


class Function(nn.Module):
    """A network from a plain function [n, C, H, W] -> [n, K]."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def classify(
    network: nn.Module, shape: tuple[int, int, int], classes: int, dtype: torch.dtype = torch.float64
) -> Classifier:
    """The network behind a border that changes nothing: mean 0, deviation 1."""
    names = [f"class{k}" for k in range(classes)]
    wrapped = Classifier(network, [0.0] * shape[0], [1.0] * shape[0], names, shape)
    return wrapped.to(dtype).eval().requires_grad_(False)


def linear(weights: Tensor, bias: Tensor | None = None) -> Classifier:
    """Logits W x + b for weights [K, C, H, W]."""
    flat = nn.Linear(weights[0].numel(), len(weights), bias=bias is not None)
    network = nn.Sequential(nn.Flatten(), flat)
    wrapped = classify(network, tuple(weights.shape[1:]), len(weights), weights.dtype)
    flat.weight.data.copy_(weights.flatten(1))
    if bias is not None:
        flat.bias.data.copy_(bias)
    return wrapped


def small_net(
    seed: int = 0, *, channels: int = 2, side: int = 6, classes: int = 3, dtype: torch.dtype = torch.float64
) -> Classifier:
    """Two convolutions with BatchNorm whose statistics and weights are not the fresh ones; every class occurs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norm = nn.BatchNorm2d(5)
        norm.running_mean.uniform_(-0.2, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
        network = nn.Sequential(
            nn.Conv2d(channels, 5, 3, padding=1),
            norm,
            nn.ReLU(),
            nn.Conv2d(5, 4, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, classes),
        )
        network.eval()
        with torch.no_grad():
            logits = network(torch.rand(64, channels, side, side))
            scale = 2 / logits.std(0)
            network[-1].weight *= scale[:, None]
            network[-1].bias.copy_((network[-1].bias - logits.mean(0)) * scale)
    return classify(network, (channels, side, side), classes, dtype)


class Attentive(nn.Module):
    """A vision transformer of one block: patches of 3 pixels, a class token, two heads."""

    def __init__(self, channels: int, side: int, classes: int, width: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 3, 3)
        self.token, self.places = (nn.Parameter(torch.randn(1, n, width)) for n in (1, (side // 3) ** 2))
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.dense = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 9), nn.GELU(), nn.Linear(9, width))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), tokens], 1)
        normal = self.norm(tokens)
        tokens = tokens + self.attention(normal, normal, normal, need_weights=False)[0]
        tokens = tokens + self.dense(tokens)
        return self.head(tokens[:, 0])


def attentive_net(seed: int = 0, *, side: int = 12, dtype: torch.dtype = torch.float64) -> Classifier:
    """A small vision transformer for images of two channels; no bias is 0, no norm fresh, and every class occurs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Attentive(2, side, 3)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
            logits = network(torch.rand(64, 2, side, side))
            scale = 2 / logits.std(0)
            network.head.weight *= scale[:, None]
            network.head.bias.copy_((network.head.bias - logits.mean(0)) * scale)
    return classify(network, (2, side, side), 3, dtype)


def some_images(count: int, classifier: Classifier, seed: int = 1) -> Tensor:
    """Uniform noise of the classifier's shape and type."""
    draws = torch.rand(count, *classifier.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws.to(classifier.mean.dtype)


def explain_answers(
    classifier: Classifier,
    images: Tensor,
    *,
    target: str = "predicted",
    quantity: str = "logit",
    labels: Tensor | None = None,
    index: Sequence[int] | None = None,
    batch_size: int = 4,
    seed: int = 0,
) -> Answers:
    """The planner's answers for some images, as `explain` makes them for a block."""
    labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
    rule = parse_target(target, classifier.class_names)
    training, judge = background_of_noise(classifier), judge_of(classifier, batch_size)
    block = Block(Calls(classifier, batch_size=batch_size), images, labels, rule, quantity, training, judge)
    return Answers(EXPLAIN, {"block": block}, seed=seed, index=tuple(index or range(len(images))))


def background_of_noise(classifier: Classifier) -> Background:
    """Training images of noise; those of a class are every third."""
    images = some_images(BACKGROUND, classifier, seed=99)

    def training(calls: Calls) -> Training:
        labels = torch.arange(BACKGROUND) % len(classifier.class_names)
        return Training(100 + torch.arange(BACKGROUND), labels, *calls.apart().features(images))

    return Background(
        lambda count, label=None: (images if label is None else images[label::3])[:count],
        training,
        lambda count: images[:count],
    )


def judge_of(classifier: Classifier, batch_size: int = 4) -> Judge:
    """A detector that refuses half of the images of noise that `some_images` draws."""
    with torch.no_grad():
        threshold = classifier(some_images(64, classifier)).double().amax(1).median().item()
    return Judge(Rejector(max_logit(), threshold), Calls(classifier, batch_size=batch_size))


def maps_of(text: str, answers: Answers) -> Tensor:
    """The maps of one method at the image's size."""
    return Explainer(parse_spec("explain", text)).attribution(answers).attribution


BACKGROUND = 10  # images of the training data that the nets here are said to have
ATTENTIVE = {"transformer-lrp", "attention-rollout"}  # explainers that refuse a network without attention
EXPLAINERS = [name for name in sorted(TABLE["explain"]) if Explainer(parse_spec("explain", name)).has_maps]
