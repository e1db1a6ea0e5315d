"""RefineCAM against grad-cam's, and against the product of the maps of single layers."""

from __future__ import annotations

import contextlib
import copy
import io

import pytest
import torch
from torch.nn.functional import interpolate

from tests.explain.test_cam_library import resnet, same
from tests.models.families import swin
from tests.nets import classify, explain_answers, maps_of, small_net, some_images
from xaicli.errors import InputError
from xaicli.explain.refinement import StagesPass, refinecam

BASES = ["gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "gradcam-elementwise"]


def scaled(maps: torch.Tensor) -> torch.Tensor:
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low)


@pytest.mark.parametrize("base", BASES)
def test_it_is_the_product_of_the_layers_own_maps(base: str) -> None:
    net = small_net(4, side=8)
    net.network[3].stride = (2, 2)  # maps of two sizes
    images = some_images(5, net)
    answers = explain_answers(net, images)
    parts = [scaled(maps_of(f"{base}:layer={layer}", answers)) for layer in ("2", "4")]
    live = torch.stack(parts).isfinite().flatten(2).all(2).all(0)
    assert live.any()
    expected = (parts[0] * parts[1])[live]
    for layers in ("auto", "2,4", "4,2"):
        answers = explain_answers(net, images)
        mine = maps_of(f"refinecam:layers={layers},base={base}", answers)
        torch.testing.assert_close(mine[live], expected, rtol=0, atol=1e-12)
        assert not mine[~live].any()
        assert answers.ask("block", {}).calls.forwards == 5


def test_channels_last_layers() -> None:
    torch.manual_seed(0)
    net = classify(swin(), (3, 32, 32), 5)
    images = some_images(4, net)
    answers = explain_answers(net, images)
    parts = [maps_of(f"gradcam-elementwise:layer={layer}", answers) for layer in ("features.1", "permute")]
    mine = maps_of("refinecam:base=gradcam-elementwise", answers)
    torch.testing.assert_close(mine, scaled(parts[0]) * scaled(parts[1]), rtol=0, atol=1e-12)


def test_one_layer_without_evidence_leaves_nothing() -> None:
    cams = torch.rand(2, 3, 4, 4)
    cams[1, 2] = 0.5
    found = refinecam(StagesPass(*torch.zeros(4, 2), cams))
    torch.testing.assert_close(found[:1], scaled(cams[:1]).prod(1, keepdim=True))
    assert not found[1].any() and found[0].any()


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no layer 'head'"):
        maps_of("refinecam:layers=2,head", explain_answers(small_net(), some_images(1, small_net())))


@pytest.mark.slow
@pytest.mark.parametrize("base", ["GradCAMPlusPlus", "GradCAM", "LayerCAM"])
def test_the_libraries_refinecam(base: str) -> None:
    library = pytest.importorskip("pytorch_grad_cam")
    names = {"GradCAMPlusPlus": "gradcam++", "GradCAM": "gradcam", "LayerCAM": "layercam"}
    net = resnet(1e6)  # beside whose gradients the library's 1e-6 does not show
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    trainable = copy.deepcopy(net).requires_grad_()
    layers = [trainable.network.get_submodule(f"layer{n}") for n in (1, 2, 3, 4)]
    targets = [library.utils.model_targets.ClassifierOutputTarget(int(k)) for k in net(images).argmax(1)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        expected = library.RefineCAM(trainable, layers, base_method=getattr(library, base))(images, targets)
    mine = maps_of(f"refinecam:base={names[base]}", explain_answers(net, images))
    assert interpolate(mine, (64, 64)).equal(mine)
    same(mine, expected)
