"""CAMs of several layers refined into one: what all of them show, where the finest of them shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from xaicli.explain.block import Block, Scored, anchor, score_of
from xaicli.explain.cams import gradcam, gradcam_elementwise, gradcam_plus_plus, hirescam, layercam, xgradcam
from xaicli.explain.explanation import PixelMaps
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards

_STAGES = 4  # the last of a ResNet's, as the paper's example has them
_BASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
    "hirescam": hirescam,
    "layercam": layercam,
    "gradcam-elementwise": gradcam_elementwise,
}


@dataclass(frozen=True)
class StagesPass(Scored):
    """One forward, and one backward through all layers above the first of the chosen ones."""

    cams: Tensor  # [n, layers, H, W], one map for each layer at the image's size


def refinecam(
    stages_pass: StagesPass,
    *,
    layers: tuple[str, ...] = ("auto",),
    base: Literal["gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "gradcam-elementwise"] = "gradcam++",
) -> PixelMaps:
    """RefineCAM: the CAMs of several layers, each scaled to [0, 1], multiplied (Domeniconi et al., 2026).

    `layers=auto` takes the last layer of each size of map, of the four smallest sizes; a list names them. `base` is the
    CAM of every layer. Returns [n, 1, H, W] in [0, 1], no unit; 0 everywhere where a layer shows nothing.
    """
    cams = stages_pass.cams
    low, high = cams.amin((2, 3), keepdim=True), cams.amax((2, 3), keepdim=True)
    return ((cams - low) / torch.where(high > low, high - low, 1)).prod(1, keepdim=True)


@anchor
@forwards(1)
def stages_pass(block: Block, *, layers: tuple[str, ...] = ("auto",), base: str = "gradcam++") -> StagesPass:
    """The CAM of every layer; activations and gradients are let go batch by batch."""
    calls, size = block.calls, tuple(block.images.shape[2:])
    found = calls.layers()
    chosen = found.stages(_STAGES) if layers == ("auto",) else [found.find(layer) for layer in layers]
    modules = [calls.layer(layer.name) for layer in chosen]

    def ask(images: Tensor, labels: Tensor) -> Answer:
        with outputs_of(modules) as captured:
            logits = calls.classifier(images)
        target, against, value = score_of(block, logits, labels)
        outputs = [captured[module] for module in modules]
        gradients = torch.autograd.grad(value.sum(), outputs)
        cams = [
            interpolate(
                _BASES[base](layer.grid.maps(output.detach()), layer.grid.maps(gradient)),
                size=size,
                mode="bilinear",
                align_corners=False,
            )
            for layer, output, gradient in zip(chosen, outputs, gradients, strict=True)
        ]
        return logits.detach(), target, against, value.detach(), torch.cat(cams, 1)

    return StagesPass(*calls.each(ask, block.images, block.labels))


@contextmanager
def outputs_of(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """The layers' outputs during a forward; what lies below the first of them is not differentiated."""
    captured: dict[nn.Module, Tensor] = {}

    def hook(module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        captured[module] = output if output.requires_grad else output.detach().requires_grad_()
        return captured[module].clone()  # what was captured must not be changed in place by the layers above

    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()


QUERIES = (stages_pass,)
