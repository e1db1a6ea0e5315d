"""Metrics that look at the image through its map."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
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
