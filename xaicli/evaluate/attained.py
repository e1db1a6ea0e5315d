"""How far a generation got: the loss that is left, the activation that is reached, the likeness to an original."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.company import Company
from xaicli.evaluate.scores import Scores, reports


def relative_loss(reached: Tensor) -> Scores:
    """Relative distance of an inverted image's representation from its original's, lower is better (Mahendran, 2015).

    |R(x') - R(x)| / |R(x)| of the representation R that was inverted, in the model itself, as the store holds it: how
    well the inversion did its work. 0 is the same representation.
    """
    return Scores(reached.double())


@reports(parts=("ceiling",), better={"ceiling": "neither"})
def activation(reached: Tensor, best: Tensor) -> Scores:
    """How strongly a generated image drives what was to be driven, higher is better (Olah et al., 2017).

    In the units of the logit, channel or direction, as the store holds it; the ceiling is what the training image
    reaches that drives the same most.
    """
    return Scores(reached.double(), {"ceiling": best.double()})


def perceptual_distance(company: Company) -> Scores:
    """Relative distance of a generated image from its original in a model's features, lower is better.

    |F(x') - F(x)| / |F(x)| of the penultimate features F of the judge if one is given, else of the model itself. The
    original is the image that was inverted, and of other generators the one that the generation began from. Undefined
    where there is none, or where its features are all 0.
    """
    made, original = company.features("made")[company.rows], company.features("given")[company.rows]
    size = original.norm(dim=1)
    return Scores(torch.where(size > 0, (made - original).norm(dim=1) / size, torch.nan))
