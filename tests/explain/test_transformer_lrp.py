"""Relevance through attention against gradients of networks in which constants are cut off by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.explain.test_lrp import TRANSFORMERS, close, conserved, family_net
from tests.nets import attentive_net, explain_answers, maps_of, small_net, some_images
from xaicli.errors import UnavailableError
from xaicli.explain.lrp_passes import attention_rules
from xaicli.explain.relevance import Walk
from xaicli.explain.run import Explainer
from xaicli.models.canonical import canonical
from xaicli.models.classifier import Classifier
from xaicli.specs import parse_spec


def cut_norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """A LayerNorm whose deviation has no gradient."""
    deviation = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt().detach()
    return (x - x.mean(-1, keepdim=True)) / deviation * norm.weight + norm.bias


def cut_gelu(x: Tensor) -> Tensor:
    """A GELU that is, at every value, a factor."""
    return x * (F.gelu(x) / x).detach()


class HalfProduct(torch.autograd.Function):
    """A matrix product whose gradients are halved."""

    @staticmethod
    def forward(ctx, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        return first @ second

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        first, second = ctx.saved_tensors
        return gradient @ second.mT / 2, first.mT @ gradient / 2


def logits_by_hand(net: Classifier, x: Tensor, shared: bool) -> Tensor:
    """tests.nets.Attentive once more, with everything cut that the rules take as constant."""
    network = net.network
    tokens = network.patches(x).flatten(2).transpose(1, 2) + network.places
    tokens = torch.cat([network.token.expand(len(x), -1, -1), tokens], 1)
    attention = network.attention
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    heads = F.linear(cut_norm(network.norm, tokens), weight, bias).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
    query, key, value = heads
    if shared:
        scores = HalfProduct.apply(query, key.mT) / query.shape[-1] ** 0.5
        mixed = HalfProduct.apply(scores.softmax(-1), value)
    else:
        mixed = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1).detach() @ value
    tokens = tokens + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    norm, up, _, down = network.dense
    tokens = tokens + down(cut_gelu(up(cut_norm(norm, tokens))))
    return network.head(tokens[:, 0])


@pytest.mark.parametrize("attention", ["constant", "shared"])
def test_input_times_gradient_of_the_network_with_its_constants_cut(attention: str) -> None:
    net = attentive_net()
    images = some_images(4, net)
    text = f"transformer-lrp:attention={attention},epsilon=1e-14"
    found = Explainer(parse_spec("explain", text)).attribution(explain_answers(net, images))
    x = images.clone().requires_grad_()
    logits = logits_by_hand(net, x, attention == "shared")
    close(logits.detach(), net(images))
    score = logits.amax(1)
    (gradient,) = torch.autograd.grad(score.sum(), x)
    expected = images * gradient
    close(found.attribution, expected, 1e-8)
    close(found.figures["bias_share"], (score.detach() - expected.sum((1, 2, 3))), 1e-8)
    close(found.completeness, torch.zeros(4, dtype=torch.float64), 1e-8)


def patched(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut every softmax, LayerNorm and GELU of a network where torch computes them."""
    softmax = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda *args, **named: softmax(*args, **named).detach())
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            monkeypatch.setattr(module, "forward", lambda x, norm=module: cut_norm(norm, x))
        if isinstance(module, nn.GELU):
            monkeypatch.setattr(module, "forward", cut_gelu)


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_the_same_on_networks_of_torchvision(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = family_net(family).double()
    images = some_images(2, net)
    answers = explain_answers(net, images, batch_size=2)
    found = maps_of("transformer-lrp:epsilon=1e-14", answers)
    form = answers.ask("block", {}).calls.canonical()
    patched(form, monkeypatch)
    for module in form.modules():
        if isinstance(module, nn.Softmax):
            monkeypatch.setattr(module, "forward", lambda x, dim=module.dim: x.softmax(dim).detach())
    x = images.clone().requires_grad_()
    score = form((x - net.mean) / net.std).amax(1)
    close(score.detach(), net(images).amax(1), 1e-9)
    (gradient,) = torch.autograd.grad(score.sum(), x)
    expected = images * gradient
    close(found / expected.abs().amax(), expected / expected.abs().amax(), 1e-7)


@pytest.mark.parametrize("attention", ["constant", "shared"])
@pytest.mark.parametrize("family", TRANSFORMERS)
def test_every_layer_conserves_up_to_what_is_absorbed(family: str, attention: str) -> None:
    net = family_net(family)
    images = some_images(1, net)  # one, because heads come before images inside attention
    x = (images - net.mean) / net.std
    walk = Walk(canonical(net.network, x), x, attention_rules(attention))
    start = walk.logits * F.one_hot(walk.logits.argmax(1), 5)
    *cuts, last = conserved(walk, start, 1e-3)
    assert len(cuts) > 30
    assert last.held[walk.image].abs().amax() > 0
    images = some_images(3, net)
    answers = explain_answers(net, images, batch_size=2)
    found = Explainer(parse_spec("explain", f"transformer-lrp:attention={attention}")).attribution(answers)
    assert (found.completeness / net(images).amax(1)).abs().max() < 1e-3


@pytest.mark.parametrize("quantity", ["logit", "margin", "probability", "log-probability"])
def test_every_quantity_adds_up(quantity: str) -> None:
    net = attentive_net()
    answers = explain_answers(net, some_images(4, net), quantity=quantity)
    found = Explainer(parse_spec("explain", "transformer-lrp:epsilon=1e-12")).attribution(answers)
    close(found.completeness, torch.zeros(4, dtype=torch.float64), 1e-7)


def test_a_rows_map_depends_on_the_row_alone() -> None:
    net = attentive_net()
    images = some_images(9, net)
    for attention in ("constant", "shared"):
        text = f"transformer-lrp:attention={attention}"
        whole = maps_of(text, explain_answers(net, images))
        for rows in ([4], [8, 2, 0], [1, 7, 3, 5, 6]):
            assert torch.equal(maps_of(text, explain_answers(net, images[rows])), whole[rows])
        for size in (1, 3, 32):
            close(maps_of(text, explain_answers(net, images, batch_size=size)), whole, 1e-9)


def test_a_swin_with_padding_and_shifts_keeps_rows_apart() -> None:
    net = family_net("swin").double()
    images = some_images(3, net)
    whole = maps_of("transformer-lrp", explain_answers(net, images, batch_size=3))
    quiet = torch.cat([images[:1], 1e-3 * images[1:]])
    close(maps_of("transformer-lrp", explain_answers(net, quiet, batch_size=3))[0], whole[0])


def test_a_network_without_attention_is_refused() -> None:
    net = small_net()
    with pytest.raises(
        UnavailableError, match="transformer-lrp explains attention, and this network has none; use lrp"
    ):
        maps_of("transformer-lrp", explain_answers(net, some_images(2, net)))
