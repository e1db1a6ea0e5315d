"""Shapley values against their definition, paper numbers and shap."""

from __future__ import annotations

from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest
import torch
from torch import nn

from tests.nets import classify, explain_answers, linear, small_net, some_images
from xaicli.explain.coalitions import kernel_coalitions, shapley_regression, walked_values, walks
from xaicli.explain.run import Explainer
from xaicli.explain.shapley import kernel_budget, kernel_sample, kernel_shap
from xaicli.specs import parse_spec


def brute_force(value, players: int) -> np.ndarray:
    """Shapley values of a game `value(frozenset)` by its definition."""
    phi = np.zeros(players)
    for player in range(players):
        others = [p for p in range(players) if p != player]
        for size in range(players):
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            for group in combinations(others, size):
                phi[player] += weight * (value({*group, player}) - value(set(group)))
    return phi


def game_of(net, image, baseline, labels, target: int, players: int):
    """The game that the superpixels of an image play, every coalition asked once."""
    codes = torch.arange(2**players)
    shown = (codes[:, None] >> torch.arange(players) & 1).bool()[:, labels.flatten()].view(-1, 1, *labels.shape)
    scores = net(torch.where(shown, image, baseline))[:, target].numpy()
    return lambda group: scores[sum(2**player for player in group)]


def paper_net() -> nn.Module:
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    with torch.no_grad():
        first.weight.fill_(1)
        second.weight.fill_(1)
        first.bias.copy_(torch.tensor([-10.0, 1, 1, 1]))
        second.bias.copy_(torch.tensor([-1.0, 1]))
    return classify(nn.Sequential(nn.Flatten(), first, nn.ReLU(), second), (1, 1, 3), 2)


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [((0, 0, 0), (76.666667, 196.666667, 116.666667)), ((10, 20, 10), (40, 120, 80))],
)
def test_the_small_network_of_the_papers(baseline, expected) -> None:
    image = torch.tensor([[[[20.0, 50, 30]]]], dtype=torch.float64)
    behind = torch.tensor([[[baseline]]], dtype=torch.float64)
    answers = explain_answers(paper_net(), image, target="0")
    block, prediction = answers.ask("block", {}), answers.ask("prediction", {})
    labels = torch.tensor([[[0, 1, 2]]])
    sample = answers.call(
        lambda stream, *, segments=3: kernel_sample(block, prediction, labels, behind, stream, segments=segments),
        {},
        "test",
    )
    assert sample.present.shape == (1, 6, 3)  # all of them
    empty = block.calls.classifier(behind)[:, 0]
    found = kernel_shap(sample, prediction, empty, labels, segments=3)
    assert found.attribution.flatten().tolist() == pytest.approx(expected, abs=1e-5)
    assert found.completeness.abs().max() < 1e-9


@pytest.mark.parametrize("text", ["kernel-shap:segments=8,samples=254", "shapley-sampling:segments=8,permutations=6"])
@pytest.mark.parametrize("baseline", ["black", "blur"])
def test_a_linear_network_has_the_sum_of_its_segments(text: str, baseline: str) -> None:
    w = torch.randn(3, 2, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    net = linear(w, torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64))
    images = some_images(3, net)
    answers = explain_answers(net, images)
    found = Explainer(parse_spec("explain", f"{text},baseline={baseline}")).attribution(answers)
    behind = answers.ask("baseline_image", {"baseline": baseline})
    own = (w[net(images).argmax(1)] * (images - behind)).sum(1)
    for row, labels in enumerate(found.figures["segments"]):
        for number in range(int(labels.max()) + 1):
            inside = labels == number
            value = own[row][inside].sum().item()
            assert found.figures["coefficients"][row, number].item() == pytest.approx(value, abs=1e-10)
            assert found.attribution[row, 0][inside].numpy() == pytest.approx(value / int(inside.sum()), abs=1e-10)
    assert found.completeness.abs().max() < 1e-10
    if "standard_error" in found.figures:
        assert found.figures["standard_error"].nan_to_num().max() < 1e-12


def test_all_coalitions_give_the_shapley_values_of_the_definition() -> None:
    net = small_net(3, side=9)
    images = some_images(3, net) * 2
    answers = explain_answers(net, images)
    found = Explainer(parse_spec("explain", "kernel-shap:segments=8,baseline=white")).attribution(answers)
    target = net(images).argmax(1)
    spans = []
    for row, labels in enumerate(found.figures["segments"]):
        players = int(labels.max()) + 1
        assert 3 <= players <= 8
        game = game_of(net, images[row], torch.ones_like(images[row]), labels, int(target[row]), players)
        expected = brute_force(game, players)
        spans.append(np.ptp(expected))
        assert found.figures["coefficients"][row, :players].numpy() == pytest.approx(expected, abs=1e-10)
        assert found.figures["coefficients"][row, players:].isnan().all()
    assert min(spans) > 1e-2
    drop = (net(images) - net(torch.ones_like(images))).gather(1, target[:, None]).squeeze(1)
    assert found.attribution.sum((1, 2, 3)).numpy() == pytest.approx(drop.numpy(), abs=1e-10)


@pytest.mark.parametrize("players", [2, 3, 6, 7])
def test_the_regression_with_all_coalitions_of_a_random_game(players: int) -> None:
    values = np.random.default_rng(players).normal(size=2**players)
    budget = 2**players - 2
    present, weights = kernel_coalitions(players, budget, np.zeros((budget, players + 1), np.float32))
    assert len(np.unique(present, axis=0)) == budget
    assert weights.sum() == pytest.approx(sum((players - 1) / (s * (players - s)) for s in range(1, players)))
    codes = present @ (2 ** np.arange(players))
    phi = shapley_regression(
        torch.as_tensor(present).double(),
        torch.as_tensor(values[codes]),
        torch.as_tensor(weights),
        torch.tensor(values[-1]),
        torch.tensor(values[0]),
    )
    expected = brute_force(lambda group: values[sum(2**p for p in group)], players)
    assert phi.numpy() == pytest.approx(expected, abs=1e-10)


def test_a_budget_takes_heavy_sizes_whole_and_draws_the_rest_in_pairs() -> None:
    budget, players = 200, 12
    draws = np.random.default_rng(0).random((budget, players + 1), dtype=np.float32)
    present, weights = kernel_coalitions(players, budget, draws)
    sizes = present.sum(1)
    assert sorted(sizes[:24].tolist()) == [1] * 12 + [11] * 12 and len(np.unique(present[:24], axis=0)) == 24
    assert ((sizes > 1) & (sizes < 11))[24:].all()
    assert (present[24::2] == ~present[25::2]).all()
    # the kernel's mass per size: (M - 1) / (s (M - s)); what was drawn shares what is left
    mass = {s: (players - 1) / (s * (players - s)) for s in range(1, players)}
    assert weights[:24] == pytest.approx((mass[1] + mass[11]) / 24)
    assert weights[24:] == pytest.approx((sum(mass.values()) - mass[1] - mass[11]) / (budget - 24))


def test_a_budget_for_more_than_all_coalitions_repeats_without_weight() -> None:
    present, weights = kernel_coalitions(3, 10, np.zeros((10, 4), np.float32))
    assert (weights > 0).sum() == 6 and present[6:].all()
    present, weights = kernel_coalitions(1, 4, np.zeros((4, 4), np.float32))
    assert present.all() and not weights.any()
    assert kernel_budget(50, None) == 2148 and kernel_budget(8, None) == 254 and kernel_budget(50, 10) == 10


def test_kernel_shap_from_a_part_of_the_coalitions_comes_close_and_sums_exactly() -> None:
    net = small_net(3, side=12)
    images = some_images(2, net)
    answers = explain_answers(net, images)
    exact = Explainer(parse_spec("explain", "kernel-shap:segments=10")).attribution(answers)
    some = Explainer(parse_spec("explain", "kernel-shap:segments=10,samples=120")).attribution(answers)
    spread = exact.figures["coefficients"].nan_to_num().std()
    error = (some.figures["coefficients"] - exact.figures["coefficients"]).nan_to_num().abs().max()
    assert 0 < error < 0.1 * spread
    assert some.completeness.abs().max() < 1e-10
    few = Explainer(parse_spec("explain", "kernel-shap:segments=10,samples=4")).attribution(answers)
    assert few.completeness.abs().max() < 1e-10 and few.attribution.isfinite().all()


def test_all_permutations_give_the_shapley_values() -> None:
    values = np.random.default_rng(1).normal(size=16)
    order = np.array(list(permutations(range(4))))
    codes = walks(order) @ (2 ** np.arange(4))
    assert codes.shape == (24, 2, 3)
    ends = torch.tensor(values[-1]), torch.tensor(values[0])
    each = walked_values(torch.as_tensor(order), torch.as_tensor(values[codes]), *ends)
    expected = brute_force(lambda group: values[sum(2**p for p in group)], 4)
    assert each.mean(0).numpy() == pytest.approx(expected, abs=1e-12)
    assert each.sum(1).numpy() == pytest.approx(values[-1] - values[0], abs=1e-12)


def test_the_error_bar_of_sampling_is_honest() -> None:
    net = small_net(3, side=9)
    image = some_images(1, net) * 2
    truth = Explainer(parse_spec("explain", "kernel-shap:segments=8")).attribution(explain_answers(net, image))
    players = int(truth.figures["segments"].max()) + 1
    inside = []
    for seed in range(60):
        answers = explain_answers(net, image, seed=seed, batch_size=32)
        found = Explainer(parse_spec("explain", "shapley-sampling:segments=8,permutations=25")).attribution(answers)
        error = (found.figures["coefficients"] - truth.figures["coefficients"])[0, :players].abs()
        inside.append((error < 2 * found.figures["standard_error"][0, :players]).double().mean())
        assert found.completeness.abs().max() < 1e-10
    assert 0.88 < torch.stack(inside).mean() < 0.99
    one = Explainer(parse_spec("explain", "shapley-sampling:segments=8,permutations=1")).attribution(answers)
    assert one.figures["standard_error"].isnan().all() and one.attribution.isfinite().all()


@pytest.mark.parametrize("text", ["kernel-shap", "shapley-sampling", "lime", "feature-ablation"])
def test_an_image_in_one_piece(text: str) -> None:
    net = small_net(3, side=9)
    images = some_images(2, net)
    answers = explain_answers(net, images)
    found = Explainer(parse_spec("explain", f"{text}:segments=1")).attribution(answers)
    assert found.attribution.isfinite().all() and not found.figures["segments"].any()
    if "shap" in text:
        drop = (net(images) - net(torch.zeros_like(images))).gather(1, net(images).argmax(1)[:, None]).squeeze(1)
        assert found.figures["coefficients"][:, 0].numpy() == pytest.approx(drop.numpy(), abs=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the import of shap warns
def test_shap_on_the_same_superpixels() -> None:
    import shap

    net = small_net(3, side=9)
    images = some_images(1, net)
    found = Explainer(parse_spec("explain", "kernel-shap:segments=8")).attribution(explain_answers(net, images))
    labels = found.figures["segments"][0].numpy()
    players, target = labels.max() + 1, int(net(images).argmax())

    def ask(z: np.ndarray) -> np.ndarray:
        shown = z[:, labels.ravel()].reshape(-1, 1, 9, 9)
        return net(images * torch.as_tensor(shown))[:, target].numpy()

    theirs = shap.KernelExplainer(ask, np.zeros((1, players))).shap_values(
        np.ones((1, players)), l1_reg=False, silent=True
    )
    assert found.figures["coefficients"][0, :players].numpy() == pytest.approx(theirs[0], abs=1e-8)
