"""CAMs beside grad-cam's."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytorch_grad_cam
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from tests.benchmarks.table import Line, ratio
from xaicli.explain.block import Block
from xaicli.explain.quantity import Target
from xaicli.explain.queries import EXPLAIN
from xaicli.explain.run import Explainer
from xaicli.models.classifier import Classifier
from xaicli.models.load import lay_out
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers
from xaicli.specs import parse_spec

EIGHT = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "gradcam-elementwise": "GradCAMElementWise",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
}


@dataclass(frozen=True)
class Size:
    """How much to do."""

    side: int
    rows: int
    ablated: int  # rows that the library gets for Ablation-CAM: it forwards each 512 times
    pairs: int


WHOLE, SMALL = Size(224, 16, 1, 3), Size(32, 2, 1, 1)


def lines(small: bool) -> Iterator[Line]:
    """How many times as long the library takes per image."""
    size = SMALL if small else WHOLE
    for what, methods, count, bar in (
        ("eight CAMs together", EIGHT, size.rows, 20),
        ("Ablation-CAM", {"ablationcam": "AblationCAM"}, size.ablated, 50),
    ):
        name = f"{what}, times faster than grad-cam, ResNet-18 at {size.side} px"
        yield Line(name, f">= {bar}", lambda m=methods, c=count: _factor(size, m, c))


def _factor(size: Size, methods: dict[str, str], count: int) -> float:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18(weights=None)
        images = torch.rand(size.rows, 3, size.side, size.side)
    names = [str(number) for number in range(1000)]
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    net = Classifier(network, mean, std, names, (3, size.side, size.side)).eval().requires_grad_(False)
    theirs = copy.deepcopy(net).requires_grad_()
    calls = Calls(lay_out(net, "cpu"), batch_size=min(size.rows, 32))  # one for all blocks of a job
    ours = partial(_ours, calls, methods, images)
    times = ratio(ours, partial(_theirs, theirs, methods, images[:count]), size.pairs)
    return times * size.rows / count


def _ours(calls: Calls, methods: dict[str, str], images: Tensor) -> None:
    block = Block(calls, images, torch.zeros(len(images), dtype=torch.int64), Target("predicted"), "logit")
    answers = Answers(EXPLAIN, {"block": block}, seed=0, index=tuple(range(len(images))))
    for name in methods:
        Explainer(parse_spec("explain", name)).attribution(answers)


def _theirs(net: Classifier, methods: dict[str, str], images: Tensor) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        target = [ClassifierOutputTarget(int(k)) for k in net(images).argmax(1)]
        for name in methods.values():
            with getattr(pytorch_grad_cam, name)(model=net, target_layers=[net.network.layer4]) as cam:
                cam(images, target)
