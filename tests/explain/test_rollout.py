"""Attention rollout against matrices: of torch's own attention weights, and of Swin's windows put together by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.swin_transformer import ShiftedWindowAttention, SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from tests.models.families import lively
from tests.nets import attentive_net, classify, explain_answers, maps_of, some_images
from xaicli.errors import UnavailableError
from xaicli.models.classifier import Classifier

FUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda attention: attention.mean(1),
    "max": lambda attention: attention.amax(1),
    "min": lambda attention: attention.amin(1),
}


def rollout(net: Classifier, images: Tensor, heads: str = "mean", batch_size: int = 4) -> Tensor:
    return explain_answers(net, images, batch_size=batch_size).ask("rollout", {"heads": heads})


def close(mine: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-9)


def lively_attention(network: nn.Module, strength: float) -> nn.Module:
    """Weights with which every token has favourites; fresh ones attend to all alike."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if any(part in name for part in ("in_proj_weight", "qkv.weight", "relative_position", "pos_embedding")):
                parameter.copy_(strength * torch.randn_like(parameter))
    return network


def vit(strength: float = 0.5, **changes: Any) -> Classifier:
    torch.manual_seed(3)
    network = VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=12, mlp_dim=16, num_classes=3, **changes)
    return classify(lively_attention(network, strength), (3, 32, 32), 3)


def swin(side: int, windows: int = 4) -> Classifier:
    torch.manual_seed(4)
    network = SwinTransformer([4, 4], 8, [2, 2], [2, 4], [windows, windows], num_classes=3)
    return classify(lively_attention(network, 0.4), (3, side, side), 3)


def attention_of_torch(net: Classifier, images: Tensor) -> list[Tensor]:
    """The weights that `nn.MultiheadAttention` itself hands out when asked, [n, heads, T, T] for every block."""
    found: list[Tensor] = []

    def ask(module: nn.MultiheadAttention, args: Any, kwargs: Any, output: Any) -> None:
        found.append(type(module).forward(module, *args, need_weights=True, average_attn_weights=False)[1])

    modules = [module for module in net.modules() if isinstance(module, nn.MultiheadAttention)]
    handles = [module.register_forward_hook(ask, with_kwargs=True) for module in modules]
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    return found


def product(attention: list[Tensor], heads: str) -> Tensor:
    """A matrix from the tokens at the end to those at the start, as Abnar and Zuidema write it."""
    total = torch.eye(attention[0].shape[-1], dtype=torch.float64).expand(len(attention[0]), -1, -1)
    for layer in attention:
        mixed = FUSED[heads](layer) + torch.eye(layer.shape[-1], dtype=torch.float64)
        total = (mixed / mixed.sum(-1, keepdim=True)) @ total
    return total


@pytest.mark.parametrize("heads", FUSED)
def test_vit_against_the_product_of_torchs_own_attention(heads: str) -> None:
    net = vit()
    images = some_images(5, net)
    attention = attention_of_torch(net, images)
    assert len(attention) == 3 and attention[0].amax(-1).mean() > 0.15  # not alike for all 17
    expected = product(attention, heads)[:, 0, 1:].view(5, 1, 4, 4)
    close(rollout(net, images, heads), expected)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("heads", FUSED)
def test_any_network_that_the_canonical_form_opens(heads: str) -> None:
    net = attentive_net(2)
    images = some_images(3, net)
    (attention,) = attention_of_torch(net, images)
    mixed = FUSED[heads](attention) + torch.eye(17, dtype=torch.float64)
    row = mixed[:, 0] / mixed[:, 0].sum(-1, keepdim=True)
    close(rollout(net, images, heads), row[:, 1:].view(3, 1, 4, 4))


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_timm_vit_with_a_class_token_and_with_the_mean_of_all_tokens(pool: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(5)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 3, "num_heads": 2, "num_classes": 3}
    network = timm.create_model("vit_tiny_patch16_224", global_pool=pool, **sizes)
    net = classify(lively_attention(network, 0.5), (3, 32, 32), 3)
    images = some_images(3, net)
    attention: list[Tensor] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        query, key, _ = output.view(3, 17, 3, 2, 6).permute(2, 0, 3, 1, 4)
        attention.append(torch.einsum("nhik,nhjk->nhij", query, key).div(6**0.5).softmax(-1))

    mine = rollout(net, images)
    for block in network.blocks:
        block.attn.qkv.register_forward_hook(watch)
    net(images)
    total = product(attention, "mean")
    rows = total[:, 0] if pool == "token" else total[:, 1:].mean(1)
    close(mine, rows[:, 1:].view(3, 1, 4, 4))


def windows_of_swin(module: ShiftedWindowAttention, x: Tensor, heads: str) -> Tensor:
    """Attention between all places [n, h w, h w]; in a window, and on the same side of the seam that a shift makes."""
    count, height, width, channels = x.shape
    size, shift = module.window_size[0], module.shift_size[0] if module.window_size[0] < height else 0
    query, key, _ = (
        module.qkv(x.flatten(1, 2)).view(count, -1, 3, module.num_heads, channels // module.num_heads).unbind(2)
    )
    full = torch.zeros(count, height * width, height * width, dtype=torch.float64)
    table = module.relative_position_bias_table
    places = [(i, j) for i in range(height) for j in range(width)]

    def cell(place: tuple[int, int]) -> tuple[int, ...]:
        """The window, and the side of the seam, of a place once everything has moved up and left by the shift."""
        moved = [(at - shift) % length for at, length in zip(place, (height, width), strict=True)]
        seams = [at >= length - shift for at, length in zip(moved, (height, width), strict=True)]
        return (*(at // size for at in moved), *seams)

    for a, (i, j) in enumerate(places):
        near = [b for b, place in enumerate(places) if cell(place) == cell((i, j))]
        ours = [(i - shift) % height % size, (j - shift) % width % size]
        scores = torch.einsum("nhk,nbhk->nhb", query[:, a], key[:, near]) * (channels // module.num_heads) ** -0.5
        for at, b in enumerate(near):
            theirs = [(places[b][0] - shift) % height % size, (places[b][1] - shift) % width % size]
            down, across = (mine - other + size - 1 for mine, other in zip(ours, theirs, strict=True))
            scores[:, :, at] += table[down * (2 * size - 1) + across]
        full[:, a, near] = FUSED[heads](scores.softmax(-1))
    return full


def merging(height: int, width: int) -> Tensor:
    """Four places become one, in equal parts."""
    matrix = torch.zeros(height // 2 * (width // 2), height * width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            matrix[i // 2 * (width // 2) + j // 2, i * width + j] = 0.25
    return matrix


@pytest.mark.parametrize("heads", FUSED)
def test_swin_against_matrices_over_all_places(heads: str) -> None:
    net = swin(32)
    images = some_images(2, net)
    blocks: list[Tensor] = []
    modules = [module for module in net.modules() if isinstance(module, ShiftedWindowAttention)]
    handles = [m.register_forward_hook(lambda m, x, y: blocks.append(windows_of_swin(m, x[0], heads))) for m in modules]
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    assert [len(block[0]) for block in blocks] == [64, 64, 16, 16]
    assert modules[1].shift_size == [2, 2] and (blocks[1][0] > 0).sum(1).unique().tolist() == [4, 8, 16]
    total = torch.eye(64, dtype=torch.float64)
    for block in blocks:
        total = merging(8, 8) @ total if block.shape[1] < total.shape[-2] else total
        mixed = block + torch.eye(block.shape[1], dtype=torch.float64)
        total = mixed / mixed.sum(-1, keepdim=True) @ total
    expected = total.mean(1).view(2, 1, 8, 8)
    close(rollout(net, images, heads), expected)
    assert expected.std() > 1e-4


def test_timm_swin_is_torchvisions() -> None:
    """The same weights in both libraries' networks, which split and mask windows by code of their own."""
    timm = pytest.importorskip("timm")
    theirs = swin(32)
    sizes = {"img_size": 32, "window_size": 4, "embed_dim": 8, "depths": (2, 2), "num_heads": (2, 4), "num_classes": 3}
    network = timm.create_model("swin_tiny_patch4_window7_224", **sizes).double()
    state, of = network.state_dict(), theirs.network.state_dict()
    renamed = {
        "patch_embed.proj": "features.0.0",
        "patch_embed.norm": "features.0.2",
        "layers.1.downsample": "features.2",
        "layers.0.blocks": "features.1",
        "layers.1.blocks": "features.3",
        "head.fc": "head",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.3",
    }
    for name in state:
        other = name
        for mine, yours in renamed.items():
            other = other.replace(mine, yours)
        if other in of and of[other].shape == state[name].shape:
            state[name] = of[other]
    network.load_state_dict(state)
    net = classify(network, (3, 32, 32), 3)
    images = some_images(3, net)
    close(net(images), theirs(images))
    close(rollout(net, images), rollout(theirs, images))


def test_uniform_attention_gives_the_uniform_map() -> None:
    net = vit(0.0)
    images = some_images(3, net)
    after = 1 - 0.5**3  # of what the class token itself holds, a half stays in every layer, or comes back from all
    own = 0.5**3
    found = rollout(net, images)
    assert found.amax() - found.amin() < 1e-15
    close(found, torch.full_like(found, after / 17))
    close(found.sum((1, 2, 3)), torch.full((3,), 1 - own - after / 17, dtype=torch.float64))


def test_what_padding_and_class_tokens_hold_is_missing_from_one() -> None:
    net = swin(24)  # 6 x 6 places in windows of 4
    found = rollout(net, some_images(3, net))
    assert found.shape == (3, 1, 6, 6) and (found >= 0).all() and (found.sum((1, 2, 3)) < 0.99).all()
    exact = swin(32)
    close(rollout(exact, some_images(3, exact)).sum((1, 2, 3)), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("build", [lambda: swin(32), vit])
def test_rows_do_not_depend_on_their_batch(build: Callable[[], Classifier]) -> None:
    net = build()
    images = some_images(7, net)
    whole = rollout(net, images)
    assert torch.equal(rollout(net, images[[5, 2]]), whole[[5, 2]])
    for batch_size in (1, 3, 32):
        close(rollout(net, images, batch_size=batch_size), whole)


def test_it_costs_one_forward_and_is_upsampled() -> None:
    net = vit()
    images = some_images(5, net)
    answers = explain_answers(net, images)
    maps = maps_of("attention-rollout:heads=max", answers)
    assert maps.shape == (5, 1, 32, 32) and answers.ask("block", {}).calls.forwards == 5
    expected = nn.functional.interpolate(rollout(net, images, "max"), (32, 32), mode="bilinear")
    assert torch.equal(maps, expected)


@pytest.mark.parametrize("family", ["resnet18", "mlp"])
def test_a_network_without_attention_is_refused(family: str) -> None:
    network, size = lively(family)
    net = classify(network, (3, size, size), 5)
    with pytest.raises(UnavailableError, match="finds none in this network; use gradcam") as caught:
        rollout(net, some_images(1, net))
    assert caught.value.exit_code == 69


class Mixer(nn.Module):
    """Attention, and then what mixes its tokens in another way."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.patches = nn.Conv2d(2, 4, 3, 3)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.mix = nn.Conv2d(4, 4, 3, padding=1)
        self.around = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        places = self.patches(x)
        if self.kind == "a path around the last convolution":
            places = places + self.around(places)
        tokens = places.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        if self.kind == "a convolution":
            tokens = self.mix(tokens.transpose(1, 2).unflatten(2, (4, 4))).flatten(2).transpose(1, 2)
        if self.kind == "attention without softmax":
            tokens = tokens @ tokens.transpose(1, 2) @ tokens
        return self.head(tokens.mean(1))


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("a convolution", "Conv2d"),
        ("attention without softmax", "matmul"),
        ("a path around the last convolution", "shortcut around its patches"),
    ],
)
def test_what_mixes_tokens_otherwise_is_refused_and_named(kind: str, named: str) -> None:
    net = classify(Mixer(kind), (2, 12, 12), 3)
    with pytest.raises(UnavailableError, match=f"attention-rollout has no rule for the network's '{named}'"):
        rollout(net, some_images(1, net))
