"""Metrics that look at the image through its map."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.evaluate.asked import TINY, Subject
from xaicli.evaluate.masked import Masked
from xaicli.evaluate.scores import Hits, Scores
from xaicli.explain.quantity import score


def average_drop(
    masked_score: Tensor, subject: Subject, logits: Tensor, *, mask: Literal["soft", "binary"] = "soft"
) -> Scores:
    """How much probability is lost when only the map's part is seen, lower is better (Chattopadhay et al., 2018).

    max(0, Y - O) / Y with Y = p_c(x) and O = p_c(x * M), a fraction. mask: `soft` is the min-max scaled positive map,
    `binary` is phi > 0. Undefined without a positive pixel.
    """
    whole = score(logits, subject.target, subject.against, "probability")
    return Scores((whole - masked_score).clamp_min(0) / whole)


def increase_in_confidence(
    masked_score: Tensor, subject: Subject, logits: Tensor, *, mask: Literal["soft", "binary"] = "soft"
) -> Hits:
    """Share of images that the map's part alone makes more probable, higher is better (Chattopadhay et al., 2018).

    1 where p_c(x) < p_c(x * M), else 0. mask: as for average-drop. Undefined without a positive pixel.
    """
    whole = score(logits, subject.target, subject.against, "probability")
    return Hits(torch.where(masked_score.isnan(), masked_score, (whole < masked_score).to(masked_score)))


def average_gain(
    masked: Masked, subject: Subject, logits: Tensor, *, mask: Literal["soft", "binary"] = "soft"
) -> Scores:
    """How much probability is won when only the map's part is seen, higher is better (Zhang et al., 2024).

    max(0, O - Y) / (1 - Y) with Y = p_c(x) and O = p_c(x * M), a fraction; 1 - Y and 1 - O are the sums of the other
    classes' probabilities, which keep their digits where Y is near 1. mask: as for average-drop. Undefined without a
    positive pixel, and where 1 - Y is under 1e-6.
    """
    room, left = (_others(found, subject) for found in (logits, masked.logits))
    defined = masked.defined & (room >= TINY)
    return Scores(torch.where(defined, (room - left).clamp_min(0) / room, torch.nan))


def _others(logits: Tensor, subject: Subject) -> Tensor:
    """The probability of all classes but the one explained, [n]."""
    probabilities = logits.double().softmax(1)
    own = subject.target.clamp_max(logits.shape[1] - 1)[:, None]
    return probabilities.scatter(1, own, 0).sum(1)
