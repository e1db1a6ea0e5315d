"""Ablation-CAM and Score-CAM against one forward of the whole network per channel."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tests.nets import classify, explain_answers, maps_of, small_net, some_images
from xaicli.explain.cams import scorecam
from xaicli.explain.channels import masked_scores
from xaicli.explain.run import TAILS, Explainer
from xaicli.models.classifier import Classifier
from xaicli.models.layers import find_layer
from xaicli.models.load import load_checkpoint
from xaicli.run.blocks import auto_block
from xaicli.specs import parse_spec


def replaced(net: Classifier, layer: int, images: Tensor, output: Tensor) -> Tensor:
    handle = net.network[layer].register_forward_hook(lambda *_: output)
    try:
        return net(images)
    finally:
        handle.remove()


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("fill", "layer"), [("zero", 2), ("zero", 0), ("gradcam", 4), ("gradcam", 0)])
@pytest.mark.parametrize("target", ["predicted", "least-likely", "class2,class0"])
def test_ablationcam_is_the_drop_without_each_channel(fill: str, layer: int, target: str) -> None:
    net = small_net(4, side=8)
    images = some_images(5, net)
    answers = explain_answers(net, images, target=target)
    logits = net(images)
    chosen = {"predicted": logits.argmax(1), "least-likely": logits.argmin(1)}.get(target, torch.full((5,), 2))

    def quantity(logits: Tensor) -> Tensor:
        own = logits.gather(1, chosen[:, None]).squeeze(1)
        return own - logits[:, 0] if "," in target else own

    a = net.network[: layer + 1](images)
    y = quantity(logits)
    expected = torch.zeros(5, 1, 8, 8, dtype=torch.float64)
    for k in range(a.shape[1]):
        without = a.clone()
        low = a.amin((1, 2, 3))
        value = torch.where(low == 0, 0.0, low - 1e7) if fill == "gradcam" else torch.zeros(5, dtype=torch.float64)
        without[:, k] = value[:, None, None]
        drop = (y - quantity(replaced(net, layer, images, without))) / (y if fill == "gradcam" else y.abs())
        expected[:, 0] += drop[:, None, None] * a[:, k]
    scale = expected.abs().max()
    maps = maps_of(f"ablationcam:layer={layer},fill={fill},relu=false", answers)
    close(maps / scale, expected / scale)
    close(maps_of(f"ablationcam:layer={layer},fill={fill}", answers) / scale, expected.relu() / scale)


def test_ablationcam_runs_only_what_lies_above_the_layer() -> None:
    net = small_net()
    answers = explain_answers(net, some_images(6, net))
    rows: dict[str, list[int]] = {"0": [], "7": []}
    for name, seen in rows.items():
        net.network.get_submodule(name).register_forward_pre_hook(lambda m, x, seen=seen: seen.append(len(x[0])))
    calls = answers.ask("block", {}).calls
    calls.layer("auto"), calls.tail("auto")
    for seen in rows.values():
        seen.clear()
    maps_of("ablationcam", answers)
    maps_of("ablationcam:relu=false", answers)  # the same drops
    assert calls.tail("auto").cut
    assert rows["0"] == [4, 4]  # one forward of six images
    assert rows["7"] == [4, 4] + [4] * 6  # and four channels of each, in full batches across images
    assert calls.forwards == 6 + 6 * 4


class Skipping(nn.Module):
    """A network that cannot be cut at `inner`: a path leads around it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.inner = nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.last((x + self.inner(x)).relu().mean((2, 3)))


def test_where_the_network_cannot_be_cut_the_maps_are_right_all_the_same() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = classify(Skipping(), (2, 6, 6), 3)
    images = some_images(3, net)
    answers = explain_answers(net, images)
    first = net.network.first(images).relu()
    a = net.network.inner(first)
    top = net(images).argmax(1, keepdim=True)
    y = net(images).gather(1, top).squeeze(1)
    expected = torch.zeros(3, 1, 6, 6, dtype=torch.float64)
    for k in range(3):
        without = a.clone()
        without[:, k] = 0
        yk = net.network.last((first + without).relu().mean((2, 3))).gather(1, top).squeeze(1)
        expected[:, 0] += ((y - yk) / y.abs())[:, None, None] * a[:, k]
    close(maps_of("ablationcam:layer=inner,relu=false", answers), expected)
    calls = answers.ask("block", {}).calls
    assert not calls.tail("inner").cut
    assert calls.forwards == 3 + 3 * 3 and not net.network.inner._forward_hooks


@pytest.mark.parametrize("layer", [4, 0])
def test_scorecam_is_the_softmax_of_the_masked_scores(layer: int) -> None:
    net = small_net(4, side=8)
    net.network[3].stride = (2, 2)  # a map smaller than the image
    images = some_images(5, net)
    answers = explain_answers(net, images)
    block, found = answers.ask("block", {}), answers.ask("layer_pass", {"layer": str(layer)})
    a = found.activations.clone()
    a[1, 0] = 0.25  # a constant channel masks everything
    scores = torch.zeros(a.shape[:2], dtype=torch.float64)
    for n, k in product(range(5), range(a.shape[1])):
        mask = interpolate(a[n, k][None, None], size=(8, 8), mode="bilinear", align_corners=True)[0, 0]
        spread = mask.max() - mask.min()
        mask = (mask - mask.min()) / spread if spread > 0 else torch.zeros_like(mask)
        scores[n, k] = net(images[n][None] * mask)[0, found.target[n]]
    asked = masked_scores(block, replace(found, activations=a), layer=str(layer))
    close(asked, scores)
    weights = torch.exp(scores) / torch.exp(scores).sum(1, keepdim=True)
    close(scorecam(a, asked, relu=False), (weights[:, :, None, None] * a).sum(1, keepdim=True))
    assert block.calls.forwards == 5 + 5 * a.shape[1]


@pytest.mark.parametrize("name", ["ablationcam", "scorecam"])
@pytest.mark.parametrize("layer", ["auto", "0"])
def test_what_is_planned_depends_on_the_layers_channels(name: str, layer: str) -> None:
    net = small_net()
    explainer = Explainer(parse_spec("explain", f"{name}:layer={layer}"))
    channels = {"auto": 4, "0": 5}[layer]
    assert explainer.forwards(36, lambda name: find_layer(net, name).channels) == 1 + channels
    answers = explain_answers(net, some_images(6, net))
    explainer.columns(answers)
    assert answers.ask("block", {}).calls.forwards == 6 * (1 + channels)


@pytest.mark.parametrize("name", ["ablationcam", "scorecam"])
def test_never_more_than_a_batch_of_changed_maps_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = small_net()
    sizes: list[int] = []
    answers = explain_answers(net, some_images(12, net))
    calls = answers.ask("block", {}).calls
    over = calls.over

    def watched(total, build, ask):
        def counted(items: Tensor):
            made = build(items)
            sizes.append(len(made[0]))
            return made

        return over(total, counted, ask)

    monkeypatch.setattr(calls, "over", watched)
    maps_of(name, answers)
    assert sizes == [4] * 12


def test_the_command_plans_and_stores_what_the_layers_channels_cost(call, files, here) -> None:
    methods = ("-m", "ablationcam", "-m", "scorecam:layer=block1", "-m", "gradcam")
    command = ("explain", files.checkpoint, *methods, "-n", "3", "--batch-size", "4", "-o", "out/")
    planned = call(*command, "--dry-run")
    done = call(*command)
    assert planned.code == done.code == 0, planned.err + done.err
    net = load_checkpoint(files.checkpoint)
    forwards = [1 + find_layer(net, "auto").channels, 1 + find_layer(net, "block1").channels, 1]
    assert [record["forwards"] for record in planned.records] == [3 * count for count in forwards]
    assert [record["metrics"]["forwards_per_row"] for record in done.records] == forwards


@pytest.mark.parametrize(("channels", "block"), [(5, 256), (512, 128), (2048, 32)])
def test_a_block_of_ablations_is_no_smaller_than_a_batch(channels: int, block: int) -> None:
    explainer = Explainer(parse_spec("explain", "ablationcam"))
    assert explainer.forwards(49, lambda layer: channels) == 1 + channels
    assert auto_block(explainer.forwards(49, lambda layer: channels, tails=TAILS), None) == block
    whole = Explainer(parse_spec("explain", "scorecam"))
    assert whole.forwards(49, lambda layer: channels, tails=TAILS) == 1 + channels
