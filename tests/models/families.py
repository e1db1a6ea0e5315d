"""Every family of classifiers, small, with weights that make its logits depend on the image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from xaicli.models.arch import build_network, parse_arch


def named(name: str, **arguments: object) -> Callable[[], nn.Module]:
    return lambda: models.get_model(name, weights=None, num_classes=5, **arguments)


def ours(text: str) -> Callable[[], nn.Module]:
    return lambda: build_network(parse_arch(text), 5, 3, (32, 32))


def vit() -> nn.Module:
    network = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    nn.init.normal_(network.heads.head.weight)  # zero when fresh, which would hide everything
    return network


def swin() -> nn.Module:
    return SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=5)


def timm_swin() -> nn.Module:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
    network: nn.Module = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **sizes)
    return network


NO_AUX = {"aux_logits": False, "init_weights": False}
FAMILIES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "alexnet": (named("alexnet"), 64),
    "vgg11_bn": (named("vgg11_bn"), 32),
    "resnet18": (named("resnet18"), 64),
    "resnext50_32x4d": (named("resnext50_32x4d"), 64),
    "wide_resnet50_2": (named("wide_resnet50_2"), 64),
    "densenet121": (named("densenet121"), 64),
    "googlenet": (named("googlenet", **NO_AUX), 64),
    "inception_v3": (named("inception_v3", **NO_AUX), 75),
    "squeezenet1_1": (named("squeezenet1_1"), 64),
    "mobilenet_v2": (named("mobilenet_v2"), 64),
    "mobilenet_v3_small": (named("mobilenet_v3_small"), 64),
    "mnasnet0_5": (named("mnasnet0_5"), 64),
    "shufflenet_v2_x0_5": (named("shufflenet_v2_x0_5"), 64),
    "efficientnet_b0": (named("efficientnet_b0"), 64),
    "regnet_y_400mf": (named("regnet_y_400mf"), 64),
    "convnext_tiny": (named("convnext_tiny"), 64),
    "vit": (vit, 32),
    "swin": (swin, 32),
    "resnet18-cifar": (ours("resnet18-cifar:width=8"), 32),
    "vgg16-cifar": (ours("vgg16-cifar:width=8"), 32),
    "cnn": (ours("cnn"), 32),
    "mlp": (ours("mlp:hidden=16"), 32),
    "timm:efficientnet_lite0": (ours("timm:efficientnet_lite0"), 64),
    "timm:vit_tiny_patch16_224": (ours("timm:vit_tiny_patch16_224"), 32),
    "timm:swin_tiny_patch4_window7_224": (timm_swin, 32),
}


def lively(family: str, seed: int = 0) -> tuple[nn.Module, int]:
    """A network of the family and the side of its images.

    Every BatchNorm normalises what it sees, but not quite, and has affine weights of its own: fresh ones let signals
    die out in deep networks and hide a norm that got lost.
    """
    build, size = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build()
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            network.train()(torch.randn(16, 3, size, size))
            for norm in norms:
                # a channel that was silent here must not become a loudspeaker for other images
                norm.running_var.clamp_(min=0.1 * norm.running_var.mean().item())
                norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
                norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.5)
                norm.weight.uniform_(0.7, 1.3)
                norm.bias.normal_(std=0.2)
    return network.eval().requires_grad_(False), size
