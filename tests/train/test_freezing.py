"""`--freeze`: layers keep their weights, and their BatchNorms what they have seen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from tests.nets import classify
from tests.train.test_recipes import FIT, VAL
from xaicli.errors import InputError, UsageError
from xaicli.models.classifier import Classifier
from xaicli.run.calls import evaluating
from xaicli.specs import parse_spec
from xaicli.train.freezing import freeze
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, Schedule, train_model


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.stem_again = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU())
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem_again(self.stem(x)).flatten(1))


def trained(names: Sequence[str], recipe: str = "standard:augment=none,ema=0.5") -> tuple[set[str], Classifier]:
    """The names of parameters and statistics that a training of the frozen network has changed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = classify(Net(), (1, 6, 6), 2, torch.float32).requires_grad_()
    freeze(net, names)
    before = {name: tensor.clone() for name, tensor in net.network.state_dict().items()}
    train_model(net, Pixels(FIT), Judge(VAL, None, 0), parse_spec("train", recipe), Schedule(2, 16, 16, 0), "test")
    return {name for name, tensor in net.network.state_dict().items() if not torch.equal(tensor, before[name])}, net


STEM = {f"stem.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")}
AGAIN = {f"stem_again.{name}" for name in ("0.weight", "0.bias", "1.running_mean", "1.running_var")}
HEAD = {"head.weight", "head.bias"}
COUNTERS = {"stem.1.num_batches_tracked", "stem_again.1.num_batches_tracked"}


@pytest.mark.parametrize("recipe", ["standard:ema=0.5", "adversarial:eps=0.1,steps=1,awp=true"])
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(recipe: str) -> None:
    assert trained((), recipe)[0] == STEM | AGAIN | HEAD | COUNTERS
    assert trained(("body",), recipe)[0] == HEAD
    assert trained(("stem",), recipe)[0] == AGAIN | HEAD | {"stem_again.1.num_batches_tracked"}
    assert trained(("stem_again.1", "head"), recipe)[0] == STEM | AGAIN - {
        "stem_again.1.running_mean",
        "stem_again.1.running_var",
    } | {"stem.1.num_batches_tracked"}


def test_the_average_of_counters_is_not_rounded_down() -> None:
    """0.9 of 3 and 0.1 of 3 are a little less than 3."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = classify(Net(), (1, 6, 6), 2, torch.float32).requires_grad_()
    net.network.stem[1].num_batches_tracked += 3
    freeze(net, ("stem",))
    spec, schedule = parse_spec("train", "standard:ema=0.9"), Schedule(2, 16, 16, 0)
    done = train_model(net, Pixels(FIT), Judge(VAL, None, 0), spec, schedule, "test")
    assert done.best["network.stem.1.num_batches_tracked"] == 3


def test_frozen_batch_norms_are_in_evaluation_mode_whenever_the_rest_trains() -> None:
    _, net = trained(("stem",))
    net.train()
    modes = {name: module.training for name, module in net.network.named_modules() if name}
    assert not modes["stem.1"] and all(on for name, on in modes.items() if name != "stem.1")
    with evaluating(net):
        assert not any(module.training for module in net.modules())
    assert {name: module.training for name, module in net.network.named_modules() if name} == modes


def test_what_cannot_be_frozen() -> None:
    with pytest.raises(UsageError, match=r"--freeze 'sten' is no layer of the network. Did you mean 'stem'\?"):
        trained(("sten",))
    with pytest.raises(UsageError, match="--freeze stem,stem_again,head leaves nothing to train"):
        trained(("stem", "stem_again", "head"))
    headless = classify(nn.Sequential(nn.Conv2d(1, 2, 6), nn.Flatten()), (1, 6, 6), 2)
    with pytest.raises(InputError, match="do not come from one linear layer"):
        freeze(headless.requires_grad_(), ("body",))
