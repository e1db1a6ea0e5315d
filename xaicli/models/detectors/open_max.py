"""The detector that moves evidence to a class of its own where a row is far from the classes that claim it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from xaicli.errors import InputError
from xaicli.models.detectors.detector import Detector
from xaicli.models.detectors.logits import energy_of
from xaicli.models.detectors.weibull import fit_weibull
from xaicli.signatures import Count

_SHIFT = 10_000.0  # where the authors' library (libMR) puts the smallest distance of a tail
_CERTAIN = 20.0  # 1 - exp(-exp(20)) is 1, and a larger exponent would have no gradient but NaN


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenMax(Detector):
    """How far a row's logits are from each class's mean ones, judged by the farthest rows of that class.

    means: the classes' mean logits. nearest: the smallest distance of each class's tail. shape, scale: the tail's
    Weibull distribution. alpha: how many of the largest logits give evidence away.
    """

    needs_features: ClassVar[bool] = False
    means: Annotated[Tensor, ("K", "K")]
    nearest: Annotated[Tensor, ("K",)]
    shape: Annotated[Tensor, ("K",)]
    scale: Annotated[Tensor, ("K",)]
    alpha: int

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The odds of all classes against the unknown one, as a logarithm: monotone in OpenMax' probability."""
        values = logits.double()
        distances = torch.cdist(values, self.means, compute_mode="donot_use_mm_for_euclid_dist")
        shifted = (distances + (_SHIFT - self.nearest)).clamp_min(torch.finfo(torch.float64).tiny)
        exponents = (self.shape * (shifted / self.scale).log()).clamp_max(_CERTAIN)
        outlying = -(-exponents.exp()).expm1()
        count = min(self.alpha, values.shape[1])
        ranks = values.topk(count, dim=1).indices
        shares = torch.arange(count, 0, -1, device=values.device, dtype=torch.float64) / count
        given = outlying * torch.zeros_like(values).scatter(1, ranks, shares.expand(len(values), -1))
        return energy_of(values * (1 - given)) - (values * given).sum(1)


def openmax(logits: Tensor, labels: Tensor, *, tail: Count = 20, alpha: Count = 10) -> OpenMax:
    """OpenMax (Bendale and Boult, 2016): Weibull tails of distances to the classes' mean logits.

    Euclidean distances of the rightly classified rows, their `tail` largest fitted by maximum likelihood. The `alpha`
    largest logits are weakened, the largest most; evidence is taken as it is, so a negative logit gives negative
    evidence away, as in the authors' code. Raises InputError where a class has not two right rows at different
    distances.
    """
    values = logits.double()
    right = values.argmax(1) == labels
    means, tails = [], []
    for known in range(values.shape[1]):
        own = values[right & (labels == known)]
        means.append(own.mean(0))
        far = np.sort((own - means[-1]).norm(dim=1).cpu().numpy())[-tail:]
        try:
            tails.append((far[0], *fit_weibull(far - far[0] + _SHIFT)))
        except (ValueError, IndexError):
            raise InputError(
                f"openmax needs rightly classified rows of class {known} at two distances or more from their mean, but "
                f"there are {len(own)} such rows; fit it on more, or take another detector."
            ) from None
    nearest, shape, scale = torch.tensor(tails, dtype=torch.float64, device=values.device).T.contiguous()
    return OpenMax(means=torch.stack(means), nearest=nearest, shape=shape, scale=scale, alpha=alpha)
