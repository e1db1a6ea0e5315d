"""Short ways to ask metrics about maps without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.metric import name_metrics
from xaicli.evaluate.queries import EVALUATE
from xaicli.methods import parse_spec
from xaicli.models.classifier import Classifier
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
    clean: Tensor | None = None,
    index: Sequence[int] | None = None,
    batch_size: int = 4,
    seed: int = 0,
) -> Answers:
    """The planner's answers for some rows and their maps [n, H, W], as `evaluate` makes them for a block."""
    calls = Calls(classifier, batch_size=batch_size)
    target = classifier(images).argmax(1) if target is None else target
    labels = target if labels is None else labels
    subject = Subject(calls, images, target, torch.full_like(target, NONE))
    roots: dict[str, object] = {"subject": subject, "labels": labels}
    if clean is not None:
        roots["clean"] = clean
    index = tuple(index) if index is not None else tuple(range(len(images)))
    answers = Answers(EVALUATE, roots, seed=seed, index=index)
    extra = {"attribution": maps, "mask": mask}
    return answers.within({name: root for name, root in extra.items() if root is not None})


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
