"""Every model call has exactly the batch's rows, and only real rows are counted."""

from __future__ import annotations

import pytest
import torch

from tests.nets import small_net, some_images
from xaicli.run.calls import Calls, evaluating


@pytest.mark.parametrize(("total", "batch_size"), [(1, 4), (4, 4), (5, 4), (11, 3), (2, 32)])
def test_batches_are_full_and_padding_is_not_counted(total: int, batch_size: int) -> None:
    net = small_net()
    images = some_images(total, net)
    seen: list[torch.Tensor] = []
    net.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    calls = Calls(net, batch_size=batch_size)
    logits = calls.logits(images)
    assert [len(batch) for batch in seen] == [batch_size] * -(-total // batch_size)
    assert torch.equal(torch.cat(seen)[:total], images)
    assert torch.equal(torch.cat(seen)[total:], images[-1:].expand(len(seen) * batch_size - total, -1, -1, -1))
    assert calls.forwards == total
    torch.testing.assert_close(logits, net(images), rtol=0, atol=1e-12)


def test_items_come_in_order_without_the_padding() -> None:
    net = small_net()
    calls = Calls(net, batch_size=4)
    asked: list[list[int]] = []

    def build(items: torch.Tensor) -> tuple[torch.Tensor, ...]:
        asked.append(items.tolist())
        return (items,)

    found = list(calls.over(6, build, lambda items: (items * 10,)))
    assert asked == [[0, 1, 2, 3], [4, 5, 5, 5]]
    assert [(items.tolist(), answer.tolist()) for items, (answer,) in found] == [
        ([0, 1, 2, 3], [0, 10, 20, 30]),
        ([4, 5], [40, 50]),
    ]


def test_flags_come_back_one_by_one_even_after_an_error() -> None:
    net = small_net()
    net.network.train()
    net.network[1].eval()
    before = [module.training for module in net.modules()]
    with pytest.raises(RuntimeError, match="stop"), evaluating(net):
        assert not any(module.training for module in net.modules())
        raise RuntimeError("stop")
    assert [module.training for module in net.modules()] == before


def test_a_layer_is_looked_for_once() -> None:
    net = small_net()
    calls = Calls(net)
    count = []
    net.network.register_forward_hook(lambda *_: count.append(1))
    found, looked = calls.layer("auto"), len(count)
    assert found is net.network[4] and looked > 0
    assert calls.layer("auto") is found
    assert len(count) == looked and calls.forwards == 0
