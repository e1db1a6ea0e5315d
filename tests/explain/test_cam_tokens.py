"""CAMs of ViT and Swin: tokens and channels-last maps are read as maps, as grad-cam's reshape transforms read them."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tests.explain.test_cam_library import SHARED, scaled
from tests.models.families import swin, timm_swin, vit
from tests.nets import classify, explain_answers, maps_of
from xaicli.models.classifier import Classifier

library = pytest.importorskip("pytorch_grad_cam")
from pytorch_grad_cam.ablation_layer import AblationLayerVit  # noqa: E402


def network_of(build: Any, scale: float = 1e3) -> Classifier:
    """Logits of this order, beside which the library's constants do not show; not float64, which it does not keep."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = build()
    for name, parameter in network.named_parameters():
        if "relative_position" in name or "class_token" in name:
            nn.init.normal_(parameter, std=0.5)  # as good as zero when fresh
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight *= scale
    return classify(network, (3, 32, 32), 5, torch.float32)


IMAGES = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def theirs(net: Classifier, name: str, layer: str, transform: Any, images: Tensor = IMAGES, **options: Any) -> Any:
    trainable = copy.deepcopy(net).requires_grad_()
    module = trainable.network.get_submodule(layer)
    targets = [library.utils.model_targets.ClassifierOutputTarget(int(k)) for k in net(images).argmax(1)]
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        getattr(library, name)(trainable, [module], transform, **options) as cam,
    ):
        return cam(images, targets)


def same(mine: Tensor, expected: Any, within: float = 1e-5) -> None:
    """Scaled as the library scales; an image without evidence for its class has a map of zeros in both."""
    live = mine.flatten(1).any(1)
    assert live.any() and not expected[~live.numpy()].any()
    assert np.abs(scaled(mine[live]) - expected[live.numpy()]).max() < within


def vit_places(tokens: Tensor) -> Tensor:
    return tokens[:, 1:].reshape(-1, 4, 4, tokens.shape[2]).permute(0, 3, 1, 2)


def swin_places(maps: Tensor) -> Tensor:
    return maps.permute(0, 3, 1, 2)


CAMS = {name: library_name for name, library_name in SHARED.items() if name != "fem"}  # nothing is rare in a row here


@pytest.mark.parametrize("name", CAMS)
def test_vit_at_what_the_last_attention_reads(name: str) -> None:
    net = network_of(vit, 1e8 if name == "gradcam++" else 1e3)
    expected = theirs(net, CAMS[name], "encoder.layers.encoder_layer_1.ln_1", vit_places)
    # xgradcam divides by the sums of normalised channels, which nearly cancel
    same(maps_of(name, explain_answers(net, IMAGES)), expected, 1e-4 if name == "xgradcam" else 1e-5)


@pytest.mark.parametrize("name", CAMS)
def test_swin_at_channels_last_maps(name: str) -> None:
    net = network_of(swin, 1e8 if name == "gradcam++" else 1e3)
    for layer in ("features.1", "features.3.0.norm1"):
        same(
            maps_of(f"{name}:layer={layer}", explain_answers(net, IMAGES)), theirs(net, CAMS[name], layer, swin_places)
        )


def test_auto_of_swin_is_its_last_map() -> None:
    net = network_of(swin)
    same(maps_of("gradcam", explain_answers(net, IMAGES)), theirs(net, "GradCAM", "norm", swin_places))


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "layercam"])
def test_timm_vit(name: str) -> None:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    net = network_of(lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, **sizes))
    same(maps_of(name, explain_answers(net, IMAGES)), theirs(net, CAMS[name], "blocks.1.norm1", vit_places))


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "layercam"])
def test_timm_swin(name: str) -> None:
    net = network_of(timm_swin)
    same(maps_of(name, explain_answers(net, IMAGES)), theirs(net, CAMS[name], "norm", swin_places))


def test_ablationcam_takes_a_channel_from_the_class_token_as_well() -> None:
    net = network_of(vit)
    layer = "encoder.layers.encoder_layer_0"
    mine = maps_of(f"ablationcam:layer={layer},fill=gradcam", explain_answers(net, IMAGES[:1]))
    # one channel at a time: in a batch, every further channel goes down by another 1e7
    options = {"ablation_layer": AblationLayerVit(), "batch_size": 1}
    same(mine, theirs(net, "AblationCAM", layer, vit_places, IMAGES[:1], **options))


def test_ablationcam_of_channels_last_maps_by_hand() -> None:
    net = network_of(swin).double()
    images = IMAGES[:3].double()
    answers = explain_answers(net, images)
    below, above = net.network.features[:2], net.network.features[2:]
    rest = nn.Sequential(above, net.network.norm, net.network.permute, net.network.avgpool, net.network.flatten)
    maps = below(images)
    chosen = net(images).argmax(1, keepdim=True)
    y = net(images).gather(1, chosen)
    expected = torch.zeros(3, 1, 8, 8, dtype=torch.float64)
    for k in range(maps.shape[-1]):
        without = maps.clone()
        without[..., k] = 0
        drop = (y - net.network.head(rest(without)).gather(1, chosen)) / y.abs()
        expected[:, 0] += drop[:, :, None] * maps[..., k]
    mine = maps_of("ablationcam:layer=features.1,relu=false", answers)
    torch.testing.assert_close(mine, interpolate(expected, (32, 32), mode="bilinear"), rtol=0, atol=1e-9)
    assert answers.ask("block", {}).calls.tail("features.1").cut


def test_scorecam_sees_the_image_through_the_places() -> None:
    net = network_of(vit, 1)
    expected = theirs(net, "ScoreCAM", "encoder.layers.encoder_layer_1.ln_1", vit_places)
    # maps of which the ReLU leaves little, so that the 1e-7 in the library's scaling shows
    same(maps_of("scorecam", explain_answers(net, IMAGES)), expected, 5e-5)


def test_the_last_block_of_a_vit_has_no_gradient_at_its_places() -> None:
    """Why `auto` does not take it: whatever the class token does not read is left with no weight at all."""
    net = network_of(vit)
    for layer in ("encoder.layers.encoder_layer_1", "encoder.ln"):
        assert not np.any(maps_of(f"hirescam:layer={layer}", explain_answers(net, IMAGES)).numpy())


def test_shapleycam_differentiates_attention_twice() -> None:
    net = network_of(vit, 1).double()
    images = IMAGES[:3].double()
    layer = net.network.encoder.layers[1].ln_1
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output.detach()))
    chosen = net(images).argmax(1)
    handle.remove()

    def gradient(tokens: Tensor) -> Tensor:
        leaf = tokens.clone().requires_grad_()
        handle = layer.register_forward_hook(lambda *_: leaf)
        logits = net(images)
        handle.remove()
        total = (logits + logits.log_softmax(1)).gather(1, chosen[:, None]).sum()
        return torch.autograd.grad(total, leaf)[0]

    tokens, step = kept[0], 1e-5
    curved = (gradient(tokens * (1 + step)) - gradient(tokens * (1 - step))) / (2 * step)  # along the tokens themselves
    weights = vit_places(gradient(tokens) - 0.5 * curved).mean((2, 3), keepdim=True)
    expected = (weights * vit_places(tokens)).sum(1, keepdim=True)
    mine = maps_of("shapleycam:relu=false", explain_answers(net, images))
    torch.testing.assert_close(mine, interpolate(expected, (32, 32), mode="bilinear"), rtol=1e-6, atol=1e-7)


def test_fullgrad_gives_windows_to_the_image_they_are_of() -> None:
    net = network_of(timm_swin, 1).double()
    images = IMAGES[:5].double()
    together, alone = (explain_answers(net, images, batch_size=n).ask("bias_pass", {}) for n in (4, 1))
    torch.testing.assert_close(together.share, alone.share, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.maps, alone.maps, rtol=0, atol=1e-9)
