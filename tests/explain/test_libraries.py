"""Maps equal captum's and grad-cam's on a torchvision ResNet-18 with random weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torchvision

from tests.nets import explain_answers, maps_of
from xaicli.models.classifier import Classifier

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def net() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18(weights=None, num_classes=10)
    names = [str(k) for k in range(10)]
    return Classifier(network, MEAN, STD, names, (3, 64, 64)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def same(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    assert mine.shape == theirs.shape
    # relative to the largest value of a map: random weights give gradients of any size
    scale = theirs.abs().amax()
    assert scale > 0
    assert ((mine - theirs).abs().amax() / scale).item() < 1e-5


@pytest.mark.slow
def test_captum(net: Classifier, images: torch.Tensor) -> None:
    from captum.attr import InputXGradient, IntegratedGradients, Saliency

    target = net(images).argmax(1)
    answers = explain_answers(net, images)
    same(maps_of("saliency", answers), Saliency(net).attribute(images.clone().requires_grad_(), target, abs=False))
    ixg = InputXGradient(net).attribute(images.clone().requires_grad_(), target)
    same(maps_of("input-x-gradient", answers), ixg.detach())
    ig = IntegratedGradients(net).attribute(
        images, 0.0, target, n_steps=50, method="gausslegendre", internal_batch_size=50
    )
    same(maps_of("integrated-gradients", answers), ig.detach().float())


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "theirs"), [("auto", "layer4"), ("layer2", "layer2"), ("layer3.0", "layer3.0")])
def test_grad_cam(net: Classifier, images: torch.Tensor, layer: str, theirs: str) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    target = net(images).argmax(1).tolist()
    trainable = copy.deepcopy(net).requires_grad_()  # the library cannot explain a frozen network
    with GradCAM(model=trainable, target_layers=[trainable.network.get_submodule(theirs)]) as library:
        expected = library(images, [ClassifierOutputTarget(k) for k in target])
    mine = maps_of(f"gradcam:layer={layer}", explain_answers(net, images)).double()
    low, high = mine.amin((2, 3), keepdim=True), mine.amax((2, 3), keepdim=True)
    assert (high > low).all()
    scaled = ((mine - low) / (high - low)).squeeze(1).numpy()
    assert np.abs(scaled - expected).max() < 1e-5
