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
from xaicli.evaluate.clustering import Refused
from xaicli.evaluate.company import Company
from xaicli.evaluate.known_scores import Detectors
from xaicli.evaluate.metric import name_metrics
from xaicli.evaluate.neighbours import Piece, TrainingRows
from xaicli.evaluate.queries import EVALUATE
from xaicli.evaluate.randomised import layers_in_order
from xaicli.evaluate.signed import Signed
from xaicli.evaluate.temperature import HeldOut
from xaicli.evaluate.trained import Trained
from xaicli.explain.run import Explainer
from xaicli.models.classifier import Classifier
from xaicli.models.detectors.detector import Detector
from xaicli.models.detectors.known import known_rows
from xaicli.models.detectors.logits import max_logit
from xaicli.models.detectors.table import DETECTORS, fit
from xaicli.models.layers import find_layer
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers
from xaicli.run.rejection import Rejector
from xaicli.specs import parse_spec

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
        "judge": calls,
        "reached": torch.linspace(0, 1, len(images), dtype=torch.float64),
        "best": torch.linspace(1, 2, len(images), dtype=torch.float64),
        "company": company_of_noise(calls, images),
        "origin": torch.arange(len(labels)) % 2,
        "detectors": Detectors(detectors_of_noise, lambda calls: Rejector(max_logit(), 0.0)),
        "refused": refused_by_turns(max(index) + 1 if index else len(images)),
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


def company_of_noise(calls: Calls, images: Tensor) -> Company:
    """What stands beside images that are by turns of two classes: all of it noise."""
    names = ("given", "real", "copies", "test", "training")
    sets = {name: some_images(max(len(images), 4), calls.classifier, seed=50 + n) for n, name in enumerate(names)}
    sets["made"] = images
    return company_of(calls, sets, torch.arange(len(images)) % 2)


def company_of(calls: Calls, sets: Mapping[str, Tensor], classes: Tensor, rows: Tensor | None = None) -> Company:
    """A company of these images, of which a block holds some rows."""

    def features(name: str) -> Tensor:
        return calls.apart().features(sets[name])[1].double()

    rows = torch.arange(len(classes)) if rows is None else rows
    return Company(features, lambda name, rows: sets[name][rows], lambda: iter([sets["training"]]), classes, rows)


def detectors_of_noise(calls: Calls) -> dict[str, Detector]:
    """All detectors, fitted on features and logits that are drawn."""
    draws, head = torch.Generator().manual_seed(7), calls.head()
    logits = torch.randn(60, head.layer.out_features, generator=draws).to(calls.dtype)
    features = torch.rand(60, head.width, generator=draws).to(calls.dtype)
    known = known_rows(features, logits, logits.argmax(1), head)
    return {name: fit(name, known, {}) for name in DETECTORS}


def refused_by_turns(rows: int) -> Refused:
    """Rows that are all refused, of three classes by turns, in two clusters by turns; there are forty at least."""
    every = np.arange(max(rows, 40))
    return Refused(every, every % 3, lambda rows: every, lambda rows, algorithm, clusters, seed: every % 2)


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
