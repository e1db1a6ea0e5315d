"""Infidelity: what a map predicts of random changes against what they do, in squares."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.patches import Patches
from xaicli.evaluate.perturbed import drops
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.signed import Signed
from xaicli.signatures import Count, Share


@reports(parts=("beta",), better={"beta": "neither"})
def infidelity(
    signed: Signed,
    patch_removal: Patches,
    image: Tensor,
    baseline_image: Tensor,
    subject: Subject,
    image_score: Tensor,
    *,
    draws: Count = 100,
    largest: Share = 0.35,
    baseline: Literal["black", "white", "mean", "blur", "noise", "salt-pepper"] = "black",
    quantity: Literal["logit", "probability", "log-probability", "margin"] = "logit",
) -> Scores:
    """Mean squared error of the change that a map predicts, lower is better (Yeh et al., 2019).

    E[(beta a - (f(x) - f(x - I)))^2] over `draws` perturbations I = m * (x - b), where m is a square of random place
    and side, up to `largest` of the image's. a = sum(m * phi) for maps that carry the factor (x - b), all but raw
    gradients; a = sum(I * phi) for those, always with the map's own signs and channels. beta = E[a df] / E[a^2], 1 if
    a is 0 throughout, makes maps of any scale comparable; it is stored as `infidelity-beta`. In units of the quantity,
    squared.
    """
    predicted = patch_removal.sums(signed.effects(image - baseline_image))
    observed = drops(subject, image_score, patch_removal.logits, quantity)
    power = predicted.square().mean(1)
    beta = torch.where(power > 0, (predicted * observed).mean(1) / torch.where(power > 0, power, 1), 1)
    return Scores((beta.unsqueeze(1) * predicted - observed).square().mean(1), {"beta": beta})
