from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from xaicli.errors import InputError
from xaicli.models.matching import class_count, match_state


def network() -> nn.Module:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), fc=nn.Linear(4, 2)))


def state(*, counters: bool = True) -> dict[str, Tensor]:
    found = {name: torch.rand(t.shape) if t.ndim else t + 7 for name, t in network().state_dict().items()}
    return {name: t for name, t in found.items() if counters or t.ndim}


def renamed(found: dict[str, Tensor], **names: str) -> dict[str, Tensor]:
    return {".".join(names.get(part, part) for part in name.split(".")): tensor for name, tensor in found.items()}


@pytest.mark.parametrize("prefix", ["", "model.", "model.model.", "backbone."])
@pytest.mark.parametrize("counters", [True, False])
def test_names_without_what_all_begin_with(prefix: str, counters: bool) -> None:
    found = state(counters=counters)
    matched = match_state({f"{prefix}{name}": t for name, t in found.items()}, network().state_dict(), "name", "'w'")
    assert list(matched) == list(found) and all(matched[name] is found[name] for name in found)


def test_a_networks_own_wrapper_is_kept() -> None:
    wrapped = nn.Sequential(OrderedDict(model=network()))
    found = {f"model.{name}": tensor for name, tensor in state().items()}
    assert match_state(found, wrapped.state_dict(), "name", "'w'") == found


def test_residual_networks_of_other_libraries() -> None:
    block = nn.Sequential(OrderedDict(downsample=nn.Sequential(nn.Conv2d(1, 1, 1)), fc=nn.Linear(1, 1)))
    found = {"shortcut.0.weight": torch.ones(1), "shortcut.0.bias": torch.ones(1), "linear.weight": torch.ones(1)}
    matched = match_state({**found, "linear.bias": torch.ones(1)}, block.state_dict(), "name", "'w'")
    assert list(matched) == ["downsample.0.weight", "downsample.0.bias", "fc.weight", "fc.bias"]


@pytest.mark.parametrize(("theirs", "ours"), [(True, True), (True, False), (False, True)])
def test_by_order(theirs: bool, ours: bool) -> None:
    found = renamed(state(counters=theirs), conv="stem", bn="norm", fc="head")
    expected = {name: t for name, t in network().state_dict().items() if ours or t.ndim}
    matched = match_state(found, expected, "order", "'w'")
    for name, tensor in matched.items():
        assert tensor is found[name.replace("conv", "stem").replace("bn", "norm").replace("fc", "head")]
    assert matched.keys() == {name for name, t in expected.items() if theirs or t.ndim}


def test_by_order_the_first_difference_is_named() -> None:
    found = renamed(state(), conv="stem")
    found["bn.bias"] = torch.rand(5)
    message = r"tensor 4 is bn\.bias \(float32 \[5\]\) where the network has bn\.bias \(float32 \[4\]\); name the right"
    with pytest.raises(InputError, match=message):
        match_state(found, network().state_dict(), "order", "'w'")


def test_by_order_the_parts_of_a_batchnorm_are_not_confused() -> None:
    found = state()
    swapped = dict([*list(found.items())[:4], ("bn.running_var", found["bn.running_var"]), *list(found.items())[4:5],
                    *list(found.items())[6:]])  # fmt: skip
    with pytest.raises(InputError, match=r"tensor 5 is bn\.running_var .* has bn\.running_mean"):
        match_state(swapped, network().state_dict(), "order", "'w'")


def test_by_order_the_numbers_must_agree() -> None:
    found = {**state(), "extra": torch.rand(2)}
    with pytest.raises(InputError, match="they are 9 tensors where the network has 8"):
        match_state(found, network().state_dict(), "order", "'w'")


def test_the_classes_are_counted_by_the_head() -> None:
    one = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), fc=nn.Linear(4, 1))).state_dict()
    found = dict(sorted({f"model.{name}": tensor for name, tensor in state().items()}.items(), reverse=True))
    assert class_count(found, one) == 2
    assert class_count(one, one) is None


def test_names_that_differ_alone_point_to_the_way_out() -> None:
    found = renamed(state(), conv="stem", bn="norm", fc="head")
    with pytest.raises(InputError, match=r"other names than the network's \('stem\.weight'\).*add --match order"):
        match_state(found, network().state_dict(), "name", "'w'")
