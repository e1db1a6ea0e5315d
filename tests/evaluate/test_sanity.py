"""Maps of models that have forgotten, of other classes and of shifted inputs, against loops and closed forms."""

from __future__ import annotations

import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy.stats import entropy, spearmanr
from torch import nn

from tests.evaluate.questions import answers_of, ask, costs_of, value
from tests.nets import classify, linear, small_net, some_images
from xaicli.evaluate.metric import name_metrics, planned_forwards
from xaicli.evaluate.randomised import Randomisation, layers_in_order, stops
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.random import Stream
from xaicli.specs import parse_spec

NET = small_net(side=12)
IMAGES = some_images(4, NET)
TARGET = NET(IMAGES).argmax(1)
RANDOM = Randomisation(0, "randomisation")


def product(net: Classifier, images: torch.Tensor, target: torch.Tensor = TARGET) -> torch.Tensor:
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(images).gather(1, target[:, None]).sum(), images)
    return (gradient * images.detach()).sum(1)


def correlation(maps: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    return np.array([spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps, others, strict=True)])


def cascade(net: Classifier) -> list[Classifier]:
    """Every stage kept, which the planner never does."""
    return [deepcopy(calls.classifier) for calls in RANDOM.stages(Calls(net), None)]


def test_layers_lose_what_they_learned_one_after_the_other_from_the_top() -> None:
    before = deepcopy(NET.state_dict())
    stages = cascade(NET)
    names = [["7"], ["3"], ["1"], ["0"]]  # linear, convolution, BatchNorm, convolution
    assert [*reversed(layers_in_order(NET))] == names and len(stages) == 4
    for done, stage in enumerate(stages, start=1):
        forgotten = [f"network.{name}." for (name,) in names[:done]]
        for key, tensor in stage.state_dict().items():
            if "num_batches" not in key:
                assert torch.equal(tensor, before[key]) != key.startswith(tuple(forgotten)), key
        assert not any(parameter.requires_grad for parameter in stage.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in NET.state_dict().items())
    fresh = stages[-1].network[1]
    assert fresh.running_mean.eq(0).all() and fresh.running_var.eq(1).all() and fresh.weight.eq(1).all()


def test_random_weights_depend_on_seed_and_layer_alone() -> None:
    torch.manual_seed(1)
    first, state = cascade(NET), torch.get_rng_state()
    assert torch.equal(state, torch.get_rng_state())
    again = RANDOM.wholly(Calls(NET)).classifier
    other = Randomisation(1, "randomisation").wholly(Calls(NET)).classifier
    for key, tensor in first[-1].state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key])
    assert not torch.equal(again.network[0].weight, other.network[0].weight)
    assert [stops(10, count) for count in (None, 1, 3, 20)] == [[*range(1, 11)], [10], [3, 7, 10], [*range(1, 11)]]


def test_parameters_beside_layers_and_layers_that_are_not_called() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.linspace(2, 3, 4).view(1, 1, 4))
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 3)
            self.auxiliary = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = torch.cat([self.token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0][:, 0])

    net = classify(Attention(), (4, 2, 2), 3)
    assert layers_in_order(net) == [["", "auxiliary"], ["attention", "attention.out_proj"], ["head"]]
    random = RANDOM.wholly(Calls(net)).classifier
    changed = [k for k, v in random.state_dict().items() if not torch.equal(v, net.state_dict()[k])]
    assert {*changed, "network.attention.in_proj_bias", "network.attention.out_proj.bias"} == {
        "network.token",
        "network.attention.in_proj_weight",
        "network.attention.in_proj_bias",
        "network.attention.out_proj.weight",
        "network.attention.out_proj.bias",
        "network.head.weight",
        "network.head.bias",
        "network.auxiliary.weight",
        "network.auxiliary.bias",
    }
    assert 2.5 - 3 * 0.38 < random.network.token.mean() < 2.5 + 3 * 0.38  # drawn around the old mean


def test_mprt_against_a_loop_without_the_model_itself() -> None:
    maps = product(NET, IMAGES)
    found = ask("mprt", answers_of(NET, IMAGES, maps))
    each = [correlation(maps, product(stage, IMAGES)) for stage in cascade(NET)]
    assert found["mprt"] == pytest.approx(np.mean(each, 0), abs=1e-12)
    assert found["mprt-last"] == pytest.approx(each[-1], abs=1e-12)
    two = ask("mprt:stages=2", answers_of(NET, IMAGES, maps))
    assert two["mprt"] == pytest.approx((each[1] + each[3]) / 2, abs=1e-12)


def test_a_map_that_ignores_the_model_is_caught() -> None:
    maps = torch.as_tensor(Stream(0, "random:", (0, 1, 2, 3)).uniform((12, 12))).double()
    answers = answers_of(NET, IMAGES, maps, again=("random",))
    for name in ("mprt", "random-logit"):
        found = ask(name, answers)
        assert all(figure == pytest.approx(np.ones(4), abs=1e-12) for figure in found.values())
    assert value("emprt", answers) == pytest.approx(np.zeros(4), abs=1e-12)
    assert answers.ask("subject", {}).calls.forwards == 0


def test_smprt_averages_maps_over_noise_before_it_compares() -> None:
    stream = Stream(0, "noisy_images:n=3,sigma=0.2", (0, 1, 2, 3))
    noise = [0.2 * stream.fork(str(copy)).normal(IMAGES.shape[1:]) for copy in range(3)]
    noisy = [IMAGES + torch.as_tensor(one).double() for one in noise]

    def smooth(net: Classifier) -> torch.Tensor:
        return torch.stack([product(net, images) for images in noisy]).mean(0)

    each = [correlation(smooth(NET), smooth(stage)) for stage in cascade(NET)]
    answers = answers_of(NET, IMAGES, product(NET, IMAGES))
    found = ask("smprt:n=3,sigma=0.2", answers)
    assert found["smprt"] == pytest.approx(np.mean(each, 0), abs=1e-12)
    assert answers.ask("subject", {}).calls.forwards == 4 * 3 * 5  # three copies; the model and four stages


def test_noisy_copies_of_a_single_row_share_batches() -> None:
    whole = value("smprt:n=6", answers_of(NET, IMAGES, product(NET, IMAGES), batch_size=4))
    asked = []
    for row in range(4):
        image, number = IMAGES[row : row + 1], (row,)
        answers = answers_of(NET, image, product(NET, image, TARGET[row : row + 1]), index=number, batch_size=4)
        with torch.nn.modules.module.register_module_forward_hook(
            lambda module, inputs, _: asked.append(len(inputs[0])) if isinstance(module, Classifier) else None
        ):
            found = value("smprt:n=6", answers)
        assert found == pytest.approx(whole[row : row + 1], abs=1e-12)
    # six copies in two batches of four; the model and four stages, whose layers are found with one empty image
    assert asked.count(4) == 4 * 2 * 5 and asked.count(1) == 4 == len(asked) - 40


def test_gradients_are_averaged_with_their_signs() -> None:
    # saliency of a linear model is the same everywhere, so smoothing must give |w|, and a correlation of exactly 1
    w = torch.randn(3, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = linear(w)
    images = some_images(2, net)
    maps = w[net(images).argmax(1)].abs().sum(1)
    found = ask("smprt:n=2", answers_of(net, images, maps, again=("saliency",)))["smprt"]
    random = RANDOM.wholly(Calls(net)).classifier.network[1].weight.view(3, 12, 12)
    expected = correlation(maps, random[net(images).argmax(1)].abs())
    assert found == pytest.approx(expected, abs=1e-12)


def entropy_of(values: torch.Tensor) -> float:
    return float(entropy(np.histogram(values.numpy(), bins=100)[0]))


def test_emprt_is_the_relative_rise_of_entropy() -> None:
    maps, random = product(NET, IMAGES), product(RANDOM.wholly(Calls(NET)).classifier, IMAGES)
    before = np.array([entropy_of(one) for one in maps])
    after = np.array([entropy_of(one) for one in random])
    found = ask("emprt", answers_of(NET, IMAGES, maps))
    assert found["emprt"] == pytest.approx((after - before) / before, abs=1e-12)
    assert found["emprt-random-entropy"] == pytest.approx(after, abs=1e-12)
    assert np.isnan(value("emprt", answers_of(NET, IMAGES, torch.ones_like(maps)))).all()


def test_mprt_and_emprt_share_the_wholly_random_model() -> None:
    metrics = name_metrics([parse_spec("evaluate", name) for name in ("mprt", "emprt", "random-logit")])
    answers = answers_of(NET, IMAGES, product(NET, IMAGES))
    for metric in metrics:
        metric.evaluate(answers)
    assert planned_forwards(metrics, 1, 144, facts=costs_of(NET)) == 4 + 1
    assert answers.ask("subject", {}).calls.forwards == 4 * (4 + 1)


def test_random_logit_compares_with_another_class() -> None:
    maps = product(NET, IMAGES)
    answers = answers_of(NET, IMAGES, maps)
    other = answers.ask("other_class", {})
    assert (other != TARGET).all() and set(other.tolist()) <= {0, 1, 2}
    assert value("random-logit", answers) == pytest.approx(correlation(maps, product(NET, IMAGES, other)), abs=1e-12)
    draws = torch.cat([answers_of(NET, IMAGES, maps, seed=seed).ask("other_class", {}) - TARGET for seed in range(60)])
    counts = np.unique(draws.numpy() % 3, return_counts=True)
    assert counts[0].tolist() == [1, 2] and counts[1].min() > 90  # 240 fair draws: four deviations are 31


def test_random_logit_of_one_class_is_undefined() -> None:
    net = linear(torch.randn(1, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    images = some_images(2, net)
    assert np.isnan(value("random-logit", answers_of(net, images, product(net, images, torch.zeros(2).long())))).all()


def test_input_invariance_has_closed_forms_on_a_linear_model() -> None:
    w = torch.randn(3, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = linear(w)
    images = some_images(4, net)
    chosen = w[net(images).argmax(1)]
    gradient = answers_of(net, images, chosen.abs().sum(1), again=("saliency",))
    assert value("input-invariance", gradient) == pytest.approx(np.zeros(4), abs=1e-14)
    maps = (chosen * images).sum(1)
    expected = chosen.sum(1).flatten(1).norm(dim=1) / maps.flatten(1).norm(dim=1)  # w (x + m) - w x = w m
    for text, factor in (("input-invariance", 1), ("input-invariance:shift=0.5", 0.5)):
        answers = answers_of(net, images, maps)
        assert value(text, answers) == pytest.approx((factor * expected).numpy(), rel=1e-12)
        assert answers.ask("subject", {}).calls.forwards == 4


@pytest.fixture
def quantus() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


def test_emprt_is_quantus_with_the_same_random_model(quantus, monkeypatch: pytest.MonkeyPatch) -> None:
    net = small_net(seed=3, channels=1, side=12)
    images = some_images(3, net)
    target = net(images).argmax(1)
    random = RANDOM.wholly(Calls(net)).classifier
    wrapper = quantus.helpers.model.pytorch_model.PyTorchModel
    monkeypatch.setattr(wrapper, "get_random_layer_generator", lambda self, **_: iter([("all", random)]))
    monkeypatch.setattr(wrapper, "random_layer_generator_length", 1)

    def explain(model, inputs, targets, **_) -> np.ndarray:
        x, classes = torch.as_tensor(np.asarray(inputs), dtype=torch.float64), torch.as_tensor(np.asarray(targets))
        return product(model, x, classes).unsqueeze(1).numpy()

    maps = product(net, images, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = quantus.EfficientMPRT(
            complexity_func_kwargs={"n_bins": 100}, normalise=False, abs=False, disable_warnings=True,
            return_aggregate=False, compute_extra_scores=False,
        )  # fmt: skip
        theirs = metric(
            model=net, x_batch=images.numpy(), y_batch=target.numpy(), a_batch=maps.unsqueeze(1).numpy(),
            explain_func=explain,
        )  # fmt: skip
    assert value("emprt", answers_of(net, images, maps)) == pytest.approx(theirs, abs=1e-9)
