"""`python -m tests.benchmarks.cams [--small]`: CAMs beside grad-cam's on ResNet-18; process time, medians of pairs."""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytorch_grad_cam
import torch
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from xaicli.explain.block import Block
from xaicli.explain.quantity import Target
from xaicli.explain.queries import EXPLAIN
from xaicli.explain.run import Explainer
from xaicli.methods import parse_spec
from xaicli.models.classifier import Classifier
from xaicli.models.load import lay_out
from xaicli.run.calls import Calls
from xaicli.run.device import keep_freed_memory, steady_sums
from xaicli.run.plan import Answers

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


WHOLE, SMALL = Size(224, 16, 2, 3), Size(32, 2, 1, 1)


@dataclass(frozen=True)
class Factor:
    """One line of the table: how many times as long the library takes."""

    what: str
    factor: float
    bar: float
    seconds: float  # ours, per image


def measure_cams(size: Size) -> Iterator[Factor]:
    """Both figures, one after the other."""
    steady_sums()
    keep_freed_memory()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18(weights=None)
        images = torch.rand(size.rows, 3, size.side, size.side)
    names = [str(number) for number in range(1000)]
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    net = Classifier(network, mean, std, names, (3, size.side, size.side)).eval().requires_grad_(False)
    theirs = copy.deepcopy(net).requires_grad_()
    calls = Calls(lay_out(net, "cpu"), batch_size=min(size.rows, 32))  # one for all blocks of a job
    for what, methods, count, bar in (
        ("eight CAMs together", EIGHT, size.rows, 20.0),
        ("Ablation-CAM", {"ablationcam": "AblationCAM"}, size.ablated, 50.0),
    ):
        _ours(calls, methods, images)
        pairs = [
            (_seconds(_ours, calls, methods, images), _seconds(_theirs, theirs, methods, images[:count]))
            for _ in range(size.pairs)
        ]
        factor = statistics.median(library / own for own, library in pairs)
        seconds = statistics.median(own for own, _ in pairs)
        yield Factor(f"{what}, ResNet-18 at {size.side} px, per image", factor, bar, seconds)


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


def _seconds(function: Callable[..., object], model: object, methods: dict[str, str], images: Tensor) -> float:
    """Per image."""
    gc.collect()
    start = time.process_time()
    function(model, methods, images)
    return (time.process_time() - start) / len(images)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cams", description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny sizes: shows that it runs, not how fast")
    size = SMALL if parser.parse_args().small else WHOLE
    print(f"{'what':<66} {'factor':>9} {'bar':>7}")
    for row in measure_cams(size):
        print(f"{row.what:<66} {row.factor:>9.1f} {f'>= {row.bar:g}':>7}   {row.seconds:.3g} s", flush=True)


if __name__ == "__main__":
    main()
