"""Maps equal captum's and grad-cam's on a torchvision ResNet-18 with random weights."""

from __future__ import annotations

import copy
import types
import warnings

import numpy as np
import pytest
import torch
import torchvision

from tests.nets import explain_answers, maps_of
from xaicli.models.classifier import Classifier
from xaicli.run.random import Stream

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


@pytest.mark.slow
def test_captum_with_relus_that_cut(net: Classifier, images: torch.Tensor) -> None:
    from captum.attr import Deconvolution, GuidedBackprop, GuidedGradCam

    target = net(images).argmax(1)
    answers = explain_answers(net, images)
    apart = _own_relus(net)  # the library cannot hook a module that is called twice, or works in place
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library says that it sets hooks
        guided = GuidedBackprop(apart).attribute(images.clone().requires_grad_(), target).detach()
        deconvolved = Deconvolution(apart).attribute(images.clone().requires_grad_(), target).detach()
        product = GuidedGradCam(apart, apart.network.layer4).attribute(
            images.clone().requires_grad_(), target, interpolate_mode="bilinear"
        )
    same(maps_of("guided-backprop", answers), guided)
    same(maps_of("deconvolution", answers), deconvolved)
    same(maps_of("guided-gradcam", answers), product.detach())


def _own_relus(net: Classifier) -> Classifier:
    """The network with a ReLU module of its own, not in place, for every use."""
    copied = copy.deepcopy(net)
    for block in copied.modules():
        if isinstance(block, torchvision.models.resnet.BasicBlock):
            block.relu, block.relu2 = torch.nn.ReLU(), torch.nn.ReLU()
            block.forward = types.MethodType(_forward, block)
    copied.network.relu = torch.nn.ReLU()
    return copied


def _forward(self: torchvision.models.resnet.BasicBlock, x: torch.Tensor) -> torch.Tensor:
    out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
    return self.relu2(out + (x if self.downsample is None else self.downsample(x)))


@pytest.mark.slow
def test_captum_with_the_same_noise(net: Classifier, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from captum.attr import NoiseTunnel, Saliency

    target = net(images).argmax(1)
    answers = explain_answers(net, images, index=[4, 0, 7])
    stream = Stream(0, "noisy_gradient_moments:n=4,sigma=0.2", (4, 0, 7))
    noise = torch.stack([torch.as_tensor(stream.fork(str(copy)).normal((3, 64, 64))) for copy in range(4)])
    # the library asks for all copies of the first image, then all of the second
    given = 0.2 * noise.transpose(0, 1).reshape(12, 3, 64, 64)
    monkeypatch.setattr(torch, "normal", lambda mean, std: given)
    for mine, theirs in (("smoothgrad", "smoothgrad"), ("squaregrad", "smoothgrad_sq"), ("vargrad", "vargrad")):
        found = NoiseTunnel(Saliency(net)).attribute(
            images.clone(), nt_type=theirs, nt_samples=4, stdevs=0.2, target=target, abs=False
        )
        same(maps_of(f"{mine}:n=4,sigma=0.2", answers), found.detach())
