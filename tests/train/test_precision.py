"""Training in bf16: where it is coarse, and where it is not."""

from __future__ import annotations

import pytest
import torch

from tests.nets import small_net, some_images
from tests.train.test_recipes import FIT, VAL, fresh, same
from xaicli.specs import parse_spec
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, Schedule, train_model
from xaicli.train.precision import Bf16, asked_in


def test_the_network_computes_in_bfloat16_and_gives_float32() -> None:
    net = small_net(seed=1).float()
    images = some_images(6, net)
    kinds = []
    net.network[0].register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    asked = asked_in("bf16", net)
    logits = asked(images)
    assert kinds == [torch.bfloat16] and logits.dtype == torch.float32
    exact = net(images)
    assert not torch.equal(logits, exact)
    assert (logits - exact).norm() < 2**-4 * exact.norm()  # bfloat16 has eight bits
    assert asked_in("float32", net) is net


@pytest.mark.parametrize("recipe", ["standard", "adversarial:eps=0.05,steps=2,awp=true", "free:eps=0.05,replays=2"])
def test_weights_stay_float32_and_come_out_close(recipe: str) -> None:
    spec = parse_spec("train", f"{recipe},augment=none,schedule=constant,lr=0.01".replace("standard,", "standard:"))
    nets = []
    for precision in ("float32", "bf16", "bf16"):
        nets.append(fresh())
        schedule = Schedule(1, 45, 45, 0, precision)
        train_model(nets[-1], Pixels(FIT), Judge(VAL, None, 0), spec, schedule, "test")
    exact, coarse, again = (net.state_dict() for net in nets)
    assert same(coarse, again) and not same(exact, coarse)
    for name, tensor in exact.items():
        assert coarse[name].dtype == tensor.dtype
        torch.testing.assert_close(coarse[name], tensor, rtol=0.02, atol=0.01)


def test_gradients_reach_the_images_and_the_weights_behind_the_wrapper() -> None:
    net = small_net(seed=1).float().requires_grad_()
    images = some_images(6, net).requires_grad_()
    Bf16(net)(images)[:, 0].sum().backward()
    coarse, weight = images.grad, net.network[0].weight.grad
    images.grad = net.network[0].weight.grad = None
    net(images)[:, 0].sum().backward()
    for mine, other in ((coarse, images.grad), (weight, net.network[0].weight.grad)):
        assert mine is not None and other is not None and mine.dtype == torch.float32
        cosine = torch.nn.functional.cosine_similarity(mine.flatten(), other.flatten(), dim=0)
        assert cosine.item() > 0.99
