"""The detector that gives what the principal directions of the features leave out a logit of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from xaicli.errors import InputError
from xaicli.models.detectors.detector import Detector
from xaicli.models.detectors.logits import energy_of
from xaicli.signatures import Count


@dataclass(frozen=True, kw_only=True, eq=False)
class VirtualLogit(Detector):
    """The energy of the logits less the virtual logit.

    That is `scale` times the length of what lies in the `residual` directions, seen from the `origin`.
    """

    origin: Annotated[Tensor, ("D",)]
    residual: Annotated[Tensor, ("D", "R")]
    scale: Annotated[Tensor, ()]

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The odds of the classes against the virtual one, as a logarithm: monotone in the paper's probability."""
        left_out: Tensor = ((features.double() - self.origin) @ self.residual).norm(dim=1)
        return energy_of(logits) - self.scale * left_out


def vim(
    features: Tensor, logits: Tensor, weight: Tensor, bias: Tensor, *, dimension: Count | None = None
) -> VirtualLogit:
    """Virtual-logit matching (Wang et al., 2022).

    `dimension` of the principal space; unless given the paper's, 1,000 above 1,500 features and 512 from its smallest
    width of 768, and half of fewer. The origin is where the logits are zero, in the least-squares sense; the scale
    makes the mean virtual logit of the known rows equal to their mean largest logit. Raises InputError where no
    direction is left out, or nothing is left in them.
    """
    width = features.shape[1]
    if dimension is None:
        dimension = 1000 if width > 1500 else 512 if width >= 768 else width // 2
    if dimension >= width:
        raise InputError(
            f"a principal space of {dimension} dimensions leaves nothing of {width} features out; ask for fewer."
        )
    origin = -torch.linalg.pinv(weight.double()) @ bias.double()
    centred = features.double() - origin
    _, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    residual = axes[:, : width - dimension].contiguous()  # of the smallest eigenvalues, as a checkpoint gives them back
    lengths = (centred @ residual).norm(dim=1)
    if lengths.mean() <= 1e-9 * centred.norm(dim=1).mean():
        raise InputError(
            f"the known rows lie in a space of {dimension} dimensions, so that nothing is left to match a logit with; "
            "ask for a smaller dimension."
        )
    scale = logits.double().amax(1).mean() / lengths.mean()
    return VirtualLogit(origin=origin, residual=residual, scale=scale)
