"""What explainers say of models that have forgotten, of models with a shifted input, and of other classes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from xaicli.evaluate.again import Explainers, in_order
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.likeness import Likeness, likeness, side_by_side
from xaicli.evaluate.nearby import Noisy
from xaicli.evaluate.randomised import Randomisation, stops
from xaicli.explain.quantity import NONE
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.plan import forwards
from xaicli.run.random import Stream


def randomisation(stream: Stream) -> Randomisation:
    """The random weights, the same for all metrics, explainers and rows of the run."""
    return Randomisation(stream.seed, stream.name)


@forwards(lambda again: again())
def random_maps(subject: Subject, explainers: Explainers, randomisation: Randomisation) -> tuple[Tensor, ...]:
    """Each explainer's maps [n, H, W] of the wholly random model."""
    return in_order(explainers.of(randomisation.wholly(subject.calls)).reduced(subject))


@forwards(lambda stages, again, depth: (len(stops(depth(), stages)) - 1) * again())
def random_likeness(
    subject: Subject,
    explainers: Explainers,
    randomisation: Randomisation,
    random_maps: tuple[Tensor, ...],
    *,
    stages: int | None = None,
) -> tuple[Likeness, ...]:
    """How like its maps each explainer's maps of the random models are, [n, stages]; the last is the wholly random."""
    found: list[list[Likeness]] = [[] for _ in explainers.asked]
    for calls in randomisation.stages(subject.calls, stages, last=False):
        for number, maps in explainers.of(calls).reduced(subject):
            found[number].append(likeness(explainers.maps[number], maps))
    for number, maps in enumerate(random_maps):
        found[number].append(likeness(explainers.maps[number], maps))
    return tuple(side_by_side(one) for one in found)


def noisy_images(subject: Subject, stream: Stream, *, n: int = 50, sigma: float = 0.1) -> Noisy:
    """Copies of the images with noise N(0, sigma^2), the same for all explainers and models."""
    shape = subject.images.shape[1:]
    return Noisy(subject.images, lambda copy: sigma * stream.fork(str(copy)).normal(shape), n)


@forwards(lambda n, stages, again, depth: n * (1 + len(stops(depth(), stages))) * again())
def smooth_random_likeness(
    subject: Subject,
    explainers: Explainers,
    randomisation: Randomisation,
    noisy_images: Noisy,
    *,
    n: int = 50,
    stages: int | None = None,
) -> tuple[Likeness, ...]:
    """The same of maps that are means over noisy images, those of the model itself included."""
    own = _smooth(explainers, subject, noisy_images)
    found: list[list[Likeness]] = [[] for _ in own]
    for calls in randomisation.stages(subject.calls, stages):
        for number, maps in enumerate(_smooth(explainers.of(calls), subject, noisy_images)):
            found[number].append(likeness(own[number], maps))
    return tuple(side_by_side(one) for one in found)


def other_class(subject: Subject, stream: Stream) -> Tensor:
    """A random class of each row that is neither explained nor the contrast, [n]; 65535 where there is none."""
    draws = torch.as_tensor(stream.uniform((len(subject.calls.classifier.class_names),))).to(subject.images.device)
    classes = torch.arange(draws.shape[1], device=draws.device)
    free = (classes != subject.target.unsqueeze(1)) & (classes != subject.against.unsqueeze(1))
    return torch.where(free.any(1), torch.where(free, draws, -1).argmax(1), NONE)


@forwards(lambda again: again())
def other_class_likeness(subject: Subject, explainers: Explainers, other_class: Tensor) -> tuple[Likeness, ...]:
    """How like its maps each explainer's maps of the other class are, [n]; NaN where there is none."""
    defined = (other_class != NONE).view(-1, 1, 1)
    found = in_order(explainers.reduced(replace(subject, target=other_class)))
    return tuple(likeness(own, torch.where(defined, maps, 0)) for own, maps in zip(explainers.maps, found, strict=True))


@forwards(lambda again: again())
def shifted_changes(subject: Subject, explainers: Explainers, *, shift: float = -1.0) -> tuple[Tensor, ...]:
    """How far each explainer's maps are from its own when image and model are shifted alike, l2 norm, [n]."""
    calls = Calls(_shifted(subject.calls.classifier, shift), batch_size=subject.calls.batch_size)
    return explainers.of(calls).changes(replace(subject, images=subject.images + shift))


def _smooth(explainers: Explainers, subject: Subject, noisy: Noisy) -> tuple[Tensor, ...]:
    """Each explainer's mean map over the noisy images, reduced afterwards, [n, H, W]."""
    totals: dict[int, Tensor] = {}
    for copies in noisy.together(subject.calls.batch_size):
        for number, maps in explainers.about(subject.about(copies)):
            for one in maps.double().chunk(len(copies)):  # one by one: a sum of many would depend on their number
                totals[number] = totals[number] + one if number in totals else one
    return tuple(asked.reduced(totals[number] / noisy.count) for number, asked in enumerate(explainers.asked))


def _shifted(classifier: Classifier, shift: float) -> Classifier:
    """The classifier that says of x + shift what this one says of x: the bias of its first layer, the normalisation."""
    mean, std = (buffer.flatten().tolist() for buffer in (classifier.mean + shift, classifier.std))
    moved = Classifier(classifier.network, mean, std, classifier.class_names, classifier.shape, classifier.meta)
    return moved.to(classifier.mean).eval()


QUERIES = (
    randomisation,
    random_maps,
    random_likeness,
    noisy_images,
    smooth_random_likeness,
    other_class,
    other_class_likeness,
    shifted_changes,
)
