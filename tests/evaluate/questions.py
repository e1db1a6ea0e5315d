"""Short ways to ask metrics about maps without files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.nets import BACKGROUND, background_of_noise, some_images
from xaicli.evaluate.again import Asked, Explainers, planned_again
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.metric import name_metrics
from xaicli.evaluate.neighbours import Piece, TrainingRows
from xaicli.evaluate.queries import EVALUATE
from xaicli.evaluate.randomised import layers_in_order
from xaicli.evaluate.signed import Signed
from xaicli.evaluate.temperature import HeldOut
from xaicli.evaluate.trained import Trained
from xaicli.explain.run import Explainer
from xaicli.methods import parse_spec
from xaicli.models.classifier import Classifier
from xaicli.models.layers import find_layer
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers

NONE = 65535


def answers_of(
    classifier: Classifier,
    images: Tensor,
    maps: Tensor | None = None,
    *,
    target: Tensor | None = None,
    labels: Tensor | None = None,
    mask: Tensor | None = None,
    signed: Signed | None = None,
    clean: Tensor | None = None,
    index: Sequence[int] | None = None,
    batch_size: int = 4,
    seed: int = 0,
    again: Sequence[str] = ("input-x-gradient",),
    other: Tensor | None = None,
    training: TrainingRows | None = None,
) -> Answers:
    """The planner's answers for some rows and their maps [n, H, W], as `evaluate` makes them for a block.

    again: the methods that are asked again; the first one is said to have made the maps.
    """
    calls = Calls(classifier, batch_size=batch_size)
    target = classifier(images).argmax(1) if target is None else target
    labels = target if labels is None else labels
    subject = Subject(calls, images, target, torch.full_like(target, NONE))
    roots: dict[str, object] = {
        "subject": subject,
        "labels": labels,
        "training": training or rows_of_noise(classifier),
        "trained": Trained(labels, torch.arange(len(labels)) % 2 == 0),
        "held_out": HeldOut(lambda calls: 1.5, {}),
    }
    if clean is not None:
        roots["clean"] = clean
    index = tuple(index) if index is not None else tuple(range(len(images)))
    if maps is not None:
        roots["explainers"] = Explainers(
            asked_again(again), [maps] * len(again), index, background_of_noise(classifier)
        )
    answers = Answers(EVALUATE, roots, seed=seed, index=index)
    whole = Signed(maps.unsqueeze(1)) if signed is None and maps is not None else signed
    extra = {"attribution": maps, "signed": whole, "mask": mask, "other": other}
    if maps is not None:
        extra["explainer"] = 0
    return answers.within({name: root for name, root in extra.items() if root is not None})


def rows_of_noise(classifier: Classifier) -> TrainingRows:
    """Training rows of noise, in one piece."""
    features, images = background_of_noise(classifier).training, some_images(BACKGROUND, classifier, seed=99)

    def pieces() -> Iterator[Piece]:
        yield Piece(torch.arange(BACKGROUND), torch.arange(BACKGROUND) % len(classifier.class_names), images)

    return TrainingRows(pieces, features)


def asked_again(methods: Sequence[str], seed: int = 0) -> list[Asked]:
    """Methods as they are asked again, for the logit."""
    explainers = [Explainer(parse_spec("explain", method)) for method in methods]
    return [Asked(explainer, "logit", seed, explainer.reduce) for explainer in explainers]


def costs_of(classifier: Classifier, methods: Sequence[str] = ("input-x-gradient",)) -> Mapping[str, Any]:
    """What the costs of metrics that ask these methods again depend on; the first is the one that is judged."""
    asked, size = asked_again(methods), classifier.shape[1] * classifier.shape[2]

    def channels(layer: str) -> int:
        return find_layer(classifier, layer).channels

    return {
        "again": lambda: planned_again(asked, size, channels),
        "own": lambda: planned_again(asked[:1], size, channels),
        "depth": lambda: len(layers_in_order(classifier)),
    }


def ask(text: str, answers: Answers) -> Mapping[str, np.ndarray]:
    """A metric's columns, `curve` among them where it has one; double precision where it was computed in it."""
    (metric,) = name_metrics([parse_spec("evaluate", text)])
    scores = answers.call(
        metric.function, metric.spec.options, answers.method_key(metric.spec.name, metric.spec.options)
    )
    figures = dict(zip(metric.columns, [scores.values, *scores.parts.values()], strict=True))
    if hasattr(scores, "curve"):
        figures["curve"] = scores.curve
    return {name: figure.double().numpy() for name, figure in figures.items()}


def value(text: str, answers: Answers) -> np.ndarray:
    """A metric's own figure, [n]."""
    return next(iter(ask(text, answers).values()))
