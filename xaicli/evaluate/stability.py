"""Metrics of how much a map changes when the image hardly does; the explainer is asked again.

They say nothing about faithfulness: a map that ignores image and model, such as `random`, is perfectly stable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.again import norms
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.nearby import Outputs
from xaicli.evaluate.scores import Scores, reports
from xaicli.signatures import Count, Positive

LEAST = 1e-6  # of a relative change that is divided by (Agarwal et al., 2022)


def sensitivity_max(nearby_change: Tensor, *, radius: Positive = 0.02, draws: Count = 10) -> Scores:
    """Largest relative change of the map near the image, lower is better (Yeh et al., 2019).

    max of norm(phi' - phi) / norm(phi), l2, over `draws` images with uniform noise of at most `radius` on every pixel
    value, all explained for the class of the image itself; maps reduced to pixels. From 0, no unit. Says nothing of
    faithfulness: a map that ignores the image scores 0. Undefined for a map that is 0 everywhere.
    """
    return Scores(nearby_change.amax(1))


def sensitivity_avg(nearby_change: Tensor, *, radius: Positive = 0.02, draws: Count = 10) -> Scores:
    """Mean relative change of the map near the image, lower is better (Yeh et al., 2019).

    The mean of what sensitivity-max takes the largest of. From 0, no unit. Undefined for a map that is 0 everywhere.
    """
    return Scores(nearby_change.mean(1))


@reports(parts=("absolute",), better={"absolute": "neither"})
def local_lipschitz(
    nearby_change: Tensor,
    nearby_changes: tuple[Tensor, ...],
    explainer: int,
    nearby_distances: Tensor,
    *,
    radius: Positive = 0.02,
    draws: Count = 10,
) -> Scores:
    """Largest change of the map per distance from the image, lower is better (Alvarez-Melis and Jaakkola, 2018).

    max of norm(phi' - phi) / norm(phi) / norm(x' - x) over the images of sensitivity-max, per unit of pixel value; the
    part `absolute` is not divided by norm(phi), as in the paper, and so compares no two explainers of other units.
    Undefined for a map that is 0 everywhere.
    """
    return Scores(
        (nearby_change / nearby_distances).amax(1), {"absolute": (nearby_changes[explainer] / nearby_distances).amax(1)}
    )


def ris(
    nearby_change: Tensor,
    nearby_distances: Tensor,
    subject: Subject,
    nearby_outputs: Outputs,
    *,
    radius: Positive = 0.02,
    draws: Count = 10,
) -> Scores:
    """Relative input stability: change of the map against that of the image, lower is better (Agarwal et al., 2022).

    max of (norm(phi' - phi) / norm(phi)) / max(norm(x' - x) / norm(x), 1e-6) over those images of sensitivity-max that
    the model puts into the same class. Norms are divided, not pixels as in the paper, whose quotient has no bound
    where phi is nearly 0. From 0, no unit. Undefined for a map or image that is 0, and where no draw keeps the class.
    """
    return Scores(_worst(nearby_change, nearby_distances / norms(subject.images).unsqueeze(1), nearby_outputs.same))


def ros(nearby_change: Tensor, nearby_outputs: Outputs, *, radius: Positive = 0.02, draws: Count = 10) -> Scores:
    """Relative output stability: change of the map against that of the logits, lower is better (Agarwal et al., 2022).

    As `ris` with norm(f(x') - f(x)) / norm(f(x)) of the logits of all classes. From 0, no unit.
    """
    return Scores(_worst(nearby_change, nearby_outputs.logits, nearby_outputs.same))


def rrs(nearby_change: Tensor, nearby_outputs: Outputs, *, radius: Positive = 0.02, draws: Count = 10) -> Scores:
    """Relative representation stability: map against penultimate features, lower is better (Agarwal et al., 2022).

    As `ris` with the relative change of the last linear layer's inputs. From 0, no unit. Undefined also for a network
    whose logits do not come from one linear layer.
    """
    if nearby_outputs.features is None:
        return Scores(torch.full_like(nearby_change[:, 0], torch.nan))
    return Scores(_worst(nearby_change, nearby_outputs.features, nearby_outputs.same))


def _worst(change: Tensor, moved: Tensor, same: Tensor) -> Tensor:
    """The largest quotient over the draws that count; NaN without one, or where either change is not defined."""
    ratio = change / moved.clamp_min(LEAST)
    largest = torch.where(same, ratio, -torch.inf).amax(1)
    return torch.where(same.any(1) & ratio.isfinite().all(1), largest, torch.nan)
