"""What is left of the explained class when an image is seen through its map."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.run.plan import forwards


@forwards(1)
def masked_score(subject: Subject, attribution: Tensor, *, mask: str = "soft") -> Tensor:
    """The explained class's probability on the image times the map, [n].

    NaN without a positive pixel, and where a soft mask has no range to be scaled to.
    """
    positive = attribution.clamp_min(0)
    high = positive.amax((1, 2), keepdim=True)
    low = positive.amin((1, 2), keepdim=True) if mask == "soft" else torch.zeros_like(high)
    defined = high > low
    span = torch.where(defined, high - low, 1)
    weights = (positive - low) / span if mask == "soft" else (positive > 0).to(positive)
    scores = subject.scores(subject.images * weights[:, None], "probability")
    return torch.where(defined.flatten(), scores, torch.nan)


QUERIES = (masked_score,)
