"""Maps equal grad-cam's on a torchvision ResNet-18 with random weights, scaled as the library scales them.

Where the library's own constants would show, the conditions are chosen so that they do not: logits are large beside
the 1e-6 in its Grad-CAM++ and the 1e-7 in its scaling.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor
from torch.nn.functional import interpolate

from tests.explain.test_fullgrad import unsettled
from tests.nets import explain_answers, maps_of, small_net, some_images
from xaicli.methods import describe
from xaicli.models.classifier import Classifier

library = pytest.importorskip("pytorch_grad_cam")
pytestmark = pytest.mark.slow

SHARED = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "gradcam-elementwise": "GradCAMElementWise",
    "fem": "FEM",
    "segeigencam": "SegEigenCAM",
    "kpca-cam": "KPCA_CAM",
}


def resnet(scale: float) -> Classifier:
    """ResNet-18 whose logits are of this order of magnitude."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = unsettled(torchvision.models.resnet18(weights=None, num_classes=10))
    network.fc.weight.data *= scale
    network.fc.bias.data *= scale
    names = [str(k) for k in range(10)]
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return Classifier(network, mean, std, names, (3, 64, 64)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def net() -> Classifier:
    return resnet(1e3)


@pytest.fixture(scope="module")
def plain() -> Classifier:
    """For softmaxes, which large logits decide."""
    return resnet(1)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def theirs(
    net: Classifier, images: Tensor, name: str, layer: str, target: Callable[[int], Any] | None = None, **options: int
) -> Any:
    """The library's maps; it explains no frozen network, and prints."""
    trainable = copy.deepcopy(net).requires_grad_()
    layers = [trainable.network.get_submodule(layer)] if layer else []
    make = target or library.utils.model_targets.ClassifierOutputTarget
    targets = [make(int(k)) for k in net(images).argmax(1)]
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        getattr(library, name)(model=trainable, target_layers=layers, **options) as cam,
    ):
        return cam(images, None if name == "FinerCAM" else targets)


def scaled(maps: Tensor) -> Any:
    maps = maps.double()
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    assert (high > low).all()
    return ((maps - low) / (high - low)).squeeze(1).numpy()


def same(mine: Tensor, expected: Any, within: float = 1e-5) -> None:
    assert np.abs(scaled(mine) - expected).max() < within


CASES = [(name, layer) for name in SHARED for layer in ("layer4", "layer2", "layer3.0")]
CASES.remove(("fem", "layer4"))  # no value of four exceeds their mean by two deviations


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_cams_of_the_shared_pass(net: Classifier, images: Tensor, name: str, layer: str) -> None:
    if name == "gradcam++":  # every one of its gradients is squared before 1e-6 is added
        net = resnet(1e6)
    same(maps_of(f"{name}:layer={layer}", explain_answers(net, images)), theirs(net, images, SHARED[name], layer))


@pytest.mark.parametrize("layer", ["layer4", "layer2"])
@pytest.mark.parametrize(("name", "library_name"), [("eigencam", "EigenCAM"), ("eigengradcam", "EigenGradCAM")])
def test_projections_up_to_their_sign(
    net: Classifier, images: Tensor, name: str, library_name: str, layer: str
) -> None:
    """The library leaves the sign to the singular value decomposition and cuts off what is negative."""
    expected = theirs(net, images, library_name, layer)
    answers = explain_answers(net, images)
    signed = answers.call(describe("explain", name).load(), {"layer": layer, "relu": False}, name)
    sides = [scaled(interpolate(side, (64, 64), mode="bilinear")) for side in (signed.relu(), (-signed).relu())]
    for n in range(len(images)):
        assert min(np.abs(side[n] - expected[n]).max() for side in sides) < 1e-5


@pytest.mark.parametrize("layer", ["layer4", "layer2"])
def test_ablationcam(net: Classifier, images: Tensor, layer: str) -> None:
    answers = explain_answers(net, images[:1], batch_size=32)
    # a channel of layer2 changes little, and the library rounds both scores to float32 before it subtracts them
    within = 1e-5 if layer == "layer4" else 3e-5
    mine = maps_of(f"ablationcam:layer={layer},fill=gradcam", answers)
    same(mine, theirs(net, images[:1], "AblationCAM", layer), within)
    # after a ReLU, and for a positive logit, our own filling and sign are the same
    assert torch.equal(maps_of(f"ablationcam:layer={layer}", answers), mine)


def test_ablationcam_of_a_layer_with_negative_values() -> None:
    net = small_net(3, side=16)
    images = some_images(1, net)
    mine = maps_of("ablationcam:layer=0,fill=gradcam", explain_answers(net, images))
    # one channel at a time: in a batch, every further channel goes down by another 1e7
    same(mine, theirs(net, images, "AblationCAM", "0", batch_size=1))


def test_scorecam(plain: Classifier, images: Tensor) -> None:
    mine = maps_of("scorecam:layer=layer2", explain_answers(plain, images))
    same(mine, theirs(plain, images, "ScoreCAM", "layer2"))


def test_fullgrad(net: Classifier, images: Tensor) -> None:
    # the sum of 4,803 channels in float32, of which the scaling takes the smallest value away again
    same(maps_of("fullgrad", explain_answers(net, images)), theirs(net, images, "FullGrad", ""), 5e-5)


def test_finercam(plain: Classifier, images: Tensor) -> None:
    same(maps_of("finercam", explain_answers(plain, images)), theirs(plain, images, "FinerCAM", "layer4"))


def test_shapleycam(plain: Classifier, images: Tensor) -> None:
    rest = library.utils.model_targets.ClassifierOutputReST
    mine = maps_of("shapleycam", explain_answers(plain, images))
    same(mine, theirs(plain, images, "ShapleyCAM", "layer4", rest))
