"""Accuracy on what the most relevant pixels show, and on what is left without them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.paths import Fill, Ranks, kept, removed
from xaicli.evaluate.scores import Hits, reports
from xaicli.evaluate.walks import Walk, responses
from xaicli.run.plan import forwards
from xaicli.signatures import Share

PERCENTS = (5, 10, 20, 30, 50)
"""Beside the share asked for, these are always asked: a forward each."""


def _counts(share: float, size: int) -> list[int]:
    """The distinct numbers of pixels of all shares, in order."""
    return sorted({_count(each, size) for each in (share, *(percent / 100 for percent in PERCENTS))})


def _count(share: float, size: int) -> int:
    return max(1, round(share * size))


@forwards(lambda share, size: len(_counts(share, size)))
def top_keeping(
    subject: Subject, ranks: Ranks, baseline_image: Tensor, *, share: float = 0.2, baseline: str = "salt-pepper"
) -> Walk:
    """Nothing but the most relevant pixels on the baseline, for each share."""
    return _walk(subject, ranks, kept(subject.images, ranks.places, baseline_image, baseline), share)


@forwards(lambda share, size: len(_counts(share, size)))
def top_removal(
    subject: Subject, ranks: Ranks, baseline_image: Tensor, *, share: float = 0.2, baseline: str = "salt-pepper"
) -> Walk:
    """The image with its most relevant pixels replaced by the baseline, for each share."""
    return _walk(subject, ranks, removed(subject.images, ranks.places, baseline_image, baseline), share)


def _walk(subject: Subject, ranks: Ranks, fill: Fill, share: float) -> Walk:
    size = ranks.places[0].numel()
    counts = torch.tensor(_counts(share, size), device=ranks.places.device).expand(len(ranks.places), -1)
    return Walk(subject, counts, counts.double() / size, responses(subject, fill, counts))


@reports(parts=tuple(map(str, PERCENTS)))
def keep_top(
    top_keeping: Walk,
    labels: Tensor,
    *,
    share: Share = 0.2,
    baseline: Literal["salt-pepper", "black", "white", "mean", "blur", "noise", "road"] = "salt-pepper",
) -> Hits:
    """Accuracy when only the most relevant pixels are kept, higher is better (Lundberg et al., 2020).

    1 where the true class still has the largest logit once all but the `share` of the pixels that is most relevant are
    replaced, by default with black or white by a fair coin. `keep-top-5`, `-10`, `-20`, `-30` and `-50` are the same
    for those percentages. Undefined for rows without a true class.
    """
    return _hits(top_keeping, labels, share)


@reports(parts=tuple(map(str, PERCENTS)))
def remove_top(
    top_removal: Walk,
    labels: Tensor,
    *,
    share: Share = 0.2,
    baseline: Literal["salt-pepper", "black", "white", "mean", "blur", "noise", "road"] = "salt-pepper",
) -> Hits:
    """Accuracy when the most relevant pixels are replaced, lower is better (Lundberg et al., 2020).

    As keep-top, with the `share` of the pixels that is most relevant replaced and all others kept.
    """
    return _hits(top_removal, labels, share)


def _hits(walk: Walk, labels: Tensor, share: float) -> Hits:
    size = walk.subject.images[0, 0].numel()
    right = dict(zip(_counts(share, size), walk.right(labels).unbind(1), strict=True))
    parts = {str(percent): right[_count(percent / 100, size)] for percent in PERCENTS}
    return Hits(right[_count(share, size)], parts)


QUERIES = (top_keeping, top_removal)
