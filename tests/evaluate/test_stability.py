"""What becomes of maps near an image: closed forms of linear models, a loop that plans nothing, and Quantus."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask, costs_of, value
from tests.nets import Function, classify, linear, small_net, some_images
from xaicli.evaluate.metric import name_metrics, planned_forwards
from xaicli.run.random import Stream
from xaicli.specs import parse_spec

NET = small_net()
IMAGES = some_images(4, NET)
TARGET = NET(IMAGES).argmax(1)
SIX = ("sensitivity-max", "sensitivity-avg", "local-lipschitz", "ris", "ros", "rrs")


def product(images: torch.Tensor) -> torch.Tensor:
    """Input x gradient of the explained logit, summed over channels, with nothing but autograd."""
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(NET(images).gather(1, TARGET[:, None]).sum(), images)
    return (gradient * images.detach()).sum(1)


def neighbours(images: torch.Tensor, radius: float = 0.02, draws: int = 10) -> list[torch.Tensor]:
    key = f"nearby_images:draws={draws},radius={radius}"
    stream = Stream(0, key, tuple(range(len(images))))
    noise = [stream.fork(str(draw)).uniform(images.shape[1:]) for draw in range(draws)]
    return [images + torch.as_tensor(radius * (2 * one - 1)).to(images) for one in noise]


def norm(values: torch.Tensor) -> np.ndarray:
    return values.flatten(1).norm(dim=1).numpy()


def features(images: torch.Tensor) -> torch.Tensor:
    return NET.network[:-1]((images - NET.mean) / NET.std)


def test_all_six_against_a_loop() -> None:
    maps, logits = product(IMAGES), NET(IMAGES)
    answers = answers_of(NET, IMAGES, maps)
    change, far, relative = [], [], {name: [] for name in ("ris", "ros", "rrs")}
    for near in neighbours(IMAGES):
        change.append(norm(product(near) - maps) / norm(maps))
        far.append(norm(near - IMAGES))
        same = (NET(near).argmax(1) == logits.argmax(1)).numpy()
        moved = {
            "ris": norm(near - IMAGES) / norm(IMAGES),
            "ros": norm(NET(near) - logits) / norm(logits),
            "rrs": norm(features(near) - features(IMAGES)) / norm(features(IMAGES)),
        }
        for name, by in moved.items():
            relative[name].append(np.where(same, change[-1] / by, -np.inf))
    expected = {
        "sensitivity-max": np.max(change, 0),
        "sensitivity-avg": np.mean(change, 0),
        "local-lipschitz": np.max(np.array(change) / far, 0),
        **{name: np.max(found, 0) for name, found in relative.items()},
    }
    for name, figures in expected.items():
        assert value(name, answers) == pytest.approx(figures, rel=1e-10), name
    absolute = ask("local-lipschitz", answers)["local-lipschitz-absolute"]
    assert absolute == pytest.approx(np.max(np.array(change) / far, 0) * norm(maps), rel=1e-10)


def test_all_six_ask_the_explainer_once() -> None:
    answers = answers_of(NET, IMAGES, product(IMAGES))
    metrics = name_metrics([parse_spec("evaluate", name) for name in SIX])
    for metric in metrics:
        metric.evaluate(answers)
    # ten explanations, and ten looks and one at logits and features
    assert planned_forwards(metrics, 1, 36, facts=costs_of(NET)) == 10 + 11
    assert answers.ask("subject", {}).calls.forwards == 4 * (10 + 11)


def test_a_gradient_of_a_linear_model_never_changes() -> None:
    w = torch.randn(3, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = linear(w)
    images = some_images(4, net)
    maps = w[net(images).argmax(1)].abs().sum(1)
    answers = answers_of(net, images, maps, again=("saliency",))
    for name in SIX:
        assert np.array_equal(value(name, answers), np.zeros(4)), name


def test_input_x_gradient_of_a_linear_model_changes_by_the_noise() -> None:
    w = torch.randn(3, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = linear(w)
    images = some_images(4, net)
    chosen = w[net(images).argmax(1)]
    answers = answers_of(net, images, (chosen * images)[:, 0])
    expected = [norm(chosen * (near - images)) / norm(chosen * images) for near in neighbours(images, 0.05, 3)]
    assert value("sensitivity-avg:radius=0.05,draws=3", answers) == pytest.approx(np.mean(expected, 0), rel=1e-12)
    assert value("sensitivity-max:radius=0.05,draws=3", answers) == pytest.approx(np.max(expected, 0), rel=1e-12)


def test_a_map_of_zeros_is_undefined_and_a_random_one_perfectly_stable() -> None:
    zeros = answers_of(NET, IMAGES, torch.zeros(4, 6, 6, dtype=torch.float64))
    assert all(np.isnan(value(name, zeros)).all() for name in SIX)
    chance = torch.as_tensor(Stream(0, "random:", (0, 1, 2, 3)).uniform((6, 6))).double()
    asked = answers_of(NET, IMAGES, chance, again=("random",))
    assert np.array_equal(value("sensitivity-max", asked), np.zeros(4))
    assert asked.ask("subject", {}).calls.forwards == 0  # not even its prediction


def test_draws_that_change_the_class_do_not_count_for_relative_stability() -> None:
    # one pixel decides at 0.5; the first image is at the border, the second far away
    def network(x: torch.Tensor) -> torch.Tensor:
        first = x[:, 0, 0, 0]
        return (
            torch.stack([first - 0.5, 0.5 - first], 1) * torch.tensor([1.0, 1.5], dtype=x.dtype)
            + x.sum((1, 2, 3))[:, None]
        )

    net = classify(Function(network), (1, 2, 2), 2)
    images = torch.full((2, 1, 2, 2), 0.2, dtype=torch.float64)
    images[0, 0, 0, 0] = 0.5
    images[1, 0, 0, 0] = 0.9
    target = net(images).argmax(1)
    maps = torch.ones(2, 2, 2, dtype=torch.float64)
    found = value("ris", answers_of(net, images, maps, again=("input-x-gradient",), target=target))
    expected = []
    for row in range(2):
        ratios = []
        for near in neighbours(images):
            if net(near)[row].argmax() == target[row]:
                there = near[row : row + 1].clone().requires_grad_()
                (gradient,) = torch.autograd.grad(net(there)[0, target[row]], there)
                change = ((gradient * there.detach())[0, 0] - maps[row]).norm() / maps[row].norm()
                ratios.append((change / ((near[row] - images[row]).norm() / images[row].norm())).item())
        expected.append(max(ratios))
        assert (len(ratios) == 10) == (row == 1)
    assert found == pytest.approx(expected, rel=1e-10)


def test_networks_without_a_last_linear_layer_have_no_representation() -> None:
    net = classify(Function(lambda x: x.mean((2, 3))), (3, 4, 4), 3)
    answers = answers_of(net, some_images(2, net), torch.ones(2, 4, 4, dtype=torch.float64), again=("saliency",))
    assert np.isfinite(value("ros", answers)).all()
    assert np.isnan(value("rrs", answers)).all()


@pytest.fixture
def quantus(monkeypatch: pytest.MonkeyPatch) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


def test_sensitivity_is_quantus_with_the_same_draws(quantus) -> None:
    single = small_net(seed=3, channels=1, side=7)
    images = some_images(3, single)
    target = single(images).argmax(1)

    def explain(inputs, targets, **_) -> np.ndarray:
        x = torch.as_tensor(np.asarray(inputs), dtype=torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(single(x).gather(1, torch.as_tensor(targets)[:, None]).sum(), x)
        return (gradient * x.detach()).numpy()

    near = [one.numpy() for one in neighbours(images)]

    def replay(arr: np.ndarray, **_) -> np.ndarray:
        return near.pop(0).reshape(arr.shape)

    maps = explain(images.numpy(), target.numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = quantus.MaxSensitivity(
            nr_samples=10, perturb_func=replay, disable_warnings=True, return_aggregate=False
        )
        theirs = metric(
            model=single, x_batch=images.numpy(), y_batch=target.numpy(), a_batch=maps,
            explain_func=lambda model, inputs, targets, **_: explain(inputs, targets),
        )  # fmt: skip
    ours = value("sensitivity-max", answers_of(single, images, torch.as_tensor(maps[:, 0])))
    assert ours == pytest.approx(theirs, rel=1e-9)
