"""Why a row is refused: where the image holds no evidence for any class that the model knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaicli.explain.block import Block, Scored, anchor, score_of
from xaicli.explain.cams import gradcam
from xaicli.explain.explanation import PixelMaps
from xaicli.explain.passes import output_of
from xaicli.explain.quantity import NONE, score
from xaicli.run.calls import Answer, Calls
from xaicli.run.plan import forwards

HELD_OUT = 500  # rows that the scale is taken from
LARGE = 0.95  # of them have less evidence than the scale


@dataclass(frozen=True)
class Judged:
    """What the checkpoint's detector says of the rows' images."""

    scores: Tensor  # float64 [n], higher is more known
    refused: Tensor  # bool [n]


@dataclass(frozen=True)
class ClassCams(Scored):
    """One forward, and a backward to the chosen layer for every class."""

    cams: Tensor  # [n, K, h, w], non-negative


def judged(block: Block) -> Judged:
    """Scores and refusals, in float64, so that what is stored in less cannot change a decision.

    Its forward is counted with every store of a checkpoint that refuses.
    """
    assert block.judge is not None  # a method that needs it is refused before anything runs
    rejector = block.judge.rejector
    scores = rejector.scores(block.judge.calls, block.images)
    return Judged(scores, torch.as_tensor(~rejector.keeps(scores)).to(scores.device))


@anchor
@forwards(1)
def class_cams(block: Block, *, layer: str = "auto") -> ClassCams:
    """The Grad-CAMs of all classes."""

    def ask(images: Tensor, labels: Tensor) -> Answer:
        logits, cams = _all_cams(block, block.calls, layer, images)
        return (logits, *score_of(block, logits, labels), cams)

    return ClassCams(*block.calls.each(ask, block.images, block.labels))


def evidence_scale(block: Block, class_cams: ClassCams, *, layer: str = "auto", scale: str = "validation") -> Tensor:
    """How much evidence counts as full, [n, 1, 1, 1]: of each row its own most, or the same for all.

    That of `validation` is the 95th percentile of the most that each of 500 held-out known rows has, asked once a run.
    """
    own = class_cams.cams.amax((1, 2, 3)).view(-1, 1, 1, 1)
    if scale == "image":
        return own

    def find() -> Tensor:
        def ask(images: Tensor) -> Answer:
            _, cams = _all_cams(block, calls, layer, images)
            return (cams.amax((1, 2, 3)),)

        calls = block.calls.apart()
        (most,) = calls.each(ask, block.background.held_out(HELD_OUT))
        return most.double().quantile(LARGE).to(own)

    return block.background.once(("evidence", layer, block.quantity), find).expand_as(own)


def open_set(
    judged: Judged,
    class_cams: ClassCams,
    evidence_scale: Tensor,
    *,
    layer: str = "auto",
    scale: Literal["validation", "image"] = "validation",
) -> PixelMaps:
    """Where a refused image holds no evidence for any known class; of the others, Grad-CAM (Selvaraju et al., 2017).

    For a row that the checkpoint's detector refuses 1 - max_c ReLU(cam_c) / s, cut to [0, 1], with the Grad-CAMs of all
    classes at `layer` and one scale s for all of them: the 95th percentile of the largest ReLU(cam) over 500 held-out
    rows of known classes, or with `scale=image` the row's own largest. It is 1 everywhere without positive evidence.
    For a known row the Grad-CAM of the class explained, in its own unit. Returns [n, 1, h, w], non-negative; which rows
    are refused is stored beside it. Needs a checkpoint with a detector (--known or --detector of `train`).
    """
    found, rows = class_cams.cams, torch.arange(len(class_cams.cams), device=class_cams.cams.device)
    most = found.amax(1, keepdim=True)
    nowhere = torch.where(most > 0, (1 - most / evidence_scale).clamp(0, 1), 1)
    classes = torch.where(class_cams.target < found.shape[1], class_cams.target, 0)  # an unknown label fails elsewhere
    return torch.where(judged.refused.view(-1, 1, 1, 1), nowhere, found[rows, classes].unsqueeze(1))


def _all_cams(block: Block, calls: Calls, layer: str, images: Tensor) -> Answer:
    """Logits [b, K] and the classes' Grad-CAMs [b, K, h, w] at the layer."""
    module, grid = calls.layer(layer), calls.find(layer).grid
    with output_of(module) as captured:
        logits = calls.classifier(images)
    maps, cams = grid.maps(captured[0].detach()), []
    for number in range(logits.shape[1]):
        target, against = (torch.full((len(images),), value, device=images.device) for value in (number, NONE))
        value = score(logits, target, against, block.quantity).sum()
        (gradients,) = torch.autograd.grad(value, captured, retain_graph=True)
        cams.append(gradcam(maps, grid.maps(gradients)))
    return logits.detach(), torch.cat(cams, 1)


QUERIES = (judged, class_cams, evidence_scale)
