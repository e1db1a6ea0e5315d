"""Integrals along paths: trials and tolerance, expected gradients, guided and blurred paths."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import xaicli
from tests.nets import BACKGROUND, Function, classify, explain_answers, linear, maps_of, small_net, some_images
from xaicli.errors import UsageError
from xaicli.explain.baselines import blur_matrix, gaussian_blur
from xaicli.explain.block import Block
from xaicli.explain.explanation import Explanation
from xaicli.explain.quantity import Target
from xaicli.explain.queries import EXPLAIN
from xaicli.explain.run import Explainer
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers
from xaicli.run.random import Stream
from xaicli.specs import parse_spec


def close(actual: torch.Tensor, expected: torch.Tensor, within: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=within)


def explained(text: str, answers: Answers) -> Explanation:
    return Explainer(parse_spec("explain", text)).attribution(answers)


def two(value) -> Function:
    """A network whose class 0 is this function of the image, and always wins."""
    return Function(lambda x: torch.stack([value(x), value(x) - 1], 1))


def smooth_net(seed: int = 4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 9, 3))
        network[-1].weight.data *= 4
    return classify(network, (2, 5, 5), 3)


def linear_net():
    w = torch.randn(3, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return linear(w, torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64)), w


# integrated gradients: random baselines


@pytest.mark.parametrize("baseline", ["uniform", "gaussian", "data"])
def test_trials_average_over_independent_baselines(baseline: str) -> None:
    net, w = linear_net()
    images = some_images(4, net)
    answers = explain_answers(net, images, index=[5, 2, 9, 4])
    draw = answers.ask("baselines", {"baseline": baseline})
    starts = torch.stack([draw(trial) for trial in range(5)])
    assert len({start.numpy().tobytes() for start in starts.flatten(0, 1)}) > (5 if baseline == "data" else 19)
    mine = w[net(images).argmax(1)]
    found = explained(f"ig:baseline={baseline},trials=5,steps=2", answers)
    terms = mine * (images - starts)
    close(found.attribution, terms.mean(0))
    close(found.figures["standard_error"], terms.std(0) / 5**0.5)
    close(found.completeness, torch.zeros(4, dtype=torch.float64))
    alone = explained(f"ig:baseline={baseline},steps=2", answers)
    close(alone.attribution, terms[0])  # one trial is the first of many
    assert not alone.figures


def test_data_baselines_are_rows_of_the_background() -> None:
    net = small_net()
    images = some_images(30, net)
    answers = explain_answers(net, images)
    background = answers.ask("block", {}).background(100)
    assert len(background) == BACKGROUND
    drawn = answers.ask("baseline_image", {"baseline": "data"})
    same = (drawn[:, None] == background).flatten(2).all(2)
    assert same.any(1).all() and same.any(0).sum() > 5


def test_trials_of_a_baseline_that_never_changes_are_refused() -> None:
    net = small_net()
    with pytest.raises(UsageError, match="same in every trial"):
        maps_of("ig:baseline=blur,trials=2", explain_answers(net, some_images(2, net)))


# integrated gradients: tolerance


def test_tolerance_doubles_the_steps_of_the_rows_that_need_it() -> None:
    net = small_net()
    images = some_images(8, net) * torch.linspace(0, 6, 8, dtype=torch.float64).view(-1, 1, 1, 1)
    answers = explain_answers(net, images)
    found = explained("ig:steps=2,tolerance=0.01,max-steps=64", answers)
    used = found.figures["steps"]
    drop = (net(images) - net(torch.zeros_like(images))).gather(1, net(images).argmax(1)[:, None]).squeeze(1)
    for row, steps in enumerate(used.tolist()):
        assert steps in (2, 4, 8, 16, 32, 64)
        for fewer in (2, 4, 8, 16, 32, 64):
            plain = explained(f"ig:steps={fewer}", answers)
            if fewer == steps:
                close(found.attribution[row], plain.attribution[row])
                assert plain.completeness[row].abs() <= 0.01 * drop[row].abs() or steps == 64
                break
            assert plain.completeness[row].abs() > 0.01 * drop[row].abs()
    assert used[0] == 2 and len(set(used.tolist())) >= 3  # a black image has no gap at all


def test_the_plan_is_the_most_that_a_tolerance_can_cost() -> None:
    never = classify(two(lambda x: (50 * x.sum((1, 2, 3))).sin()), (1, 2, 2), 2)
    for net, most in ((never, True), (linear_net()[0], False)):
        images = some_images(6, net)
        answers = explain_answers(net, images)
        explainer = Explainer(parse_spec("explain", "ig:steps=4,tolerance=1e-9,max-steps=20"))
        found = explainer.attribution(answers)
        assert explainer.forwards(4) == 1 + (4 + 8 + 16) + 1
        spent = answers.ask("block", {}).calls.forwards
        assert spent == 6 * (explainer.forwards(4) if most else 1 + 4 + 1)
        assert found.figures["steps"].tolist() == [16 if most else 4] * 6
    plain = Explainer(parse_spec("explain", "ig:steps=4"))
    assert plain.forwards(4) == 6 and not plain.figures((1, 2, 2))
    assert [column.name for column in explainer.figures((1, 2, 2))] == ["steps"]
    several = Explainer(parse_spec("explain", "ig:steps=4,baseline=data,trials=3"))
    assert several.forwards(4) == 1 + 3 * 5
    assert [(column.name, column.shape) for column in several.figures((1, 2, 2))] == [("standard_error", (1, 2, 2))]


def test_the_record_says_what_a_tolerance_cost(call, files, here: Path) -> None:
    method = "ig:steps=2,tolerance=0.05,max-steps=16"
    said = call("explain", files.checkpoint, "-m", method, "-n", "12", "--batch-size", "4", "-o", here / "maps.h5")
    assert said.code == 0, said.err
    steps = xaicli.open_store(here / "maps.h5")["steps"]
    assert said.record["metrics"]["steps"] == {"mean": steps.mean(), "max": steps.max()}
    assert said.record["metrics"]["forwards_per_row"] == 1 + (2 + 4 + 8 + 16) + 1


# expected gradients


def test_expected_gradients_of_a_linear_network_and_their_error_bar() -> None:
    net, w = linear_net()
    images = some_images(4, net)
    background = explain_answers(net, images).ask("block", {}).background(100)
    exact = w[net(images).argmax(1)] * (images - background.mean(0))
    off = []
    for seed in range(20):
        found = explained("expected-gradients:samples=40", explain_answers(net, images, seed=seed))
        off.append((found.attribution - exact) / found.figures["standard_error"])
        close(found.completeness, (found.attribution - exact).sum((1, 2, 3)))
    # 4,000 studentised deviations, those of one row share their draws: 95 % within 2.02 (Student, 39 degrees)
    assert 0.92 < (torch.stack(off).abs() < 2.02).double().mean().item() < 0.975


def test_expected_gradients_of_a_quadratic_network() -> None:
    matrix = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    matrix = matrix + matrix.T
    net = classify(two(lambda x: torch.einsum("ni,ij,nj->n", x.flatten(1), matrix, x.flatten(1))), (2, 2, 2), 2)
    images = some_images(3, net)
    answers = explain_answers(net, images, batch_size=64)
    background = answers.ask("block", {}).background(100).flatten(1)
    x = images.flatten(1)
    # on one path the mean gradient of x'Ax is A (x + b)
    exact = torch.stack([(x - b) * ((x + b) @ matrix) for b in background]).mean(0).view_as(images)
    few, many = (explained(f"gradient-shap:samples={n}", answers) for n in (50, 5000))
    close(exact.sum((1, 2, 3)), net(images)[:, 0] - net(background.view(-1, 2, 2, 2))[:, 0].mean(), 1e-10)
    for found in (few, many):
        error = found.figures["standard_error"]
        assert ((found.attribution - exact).abs() < 4 * error).all()
        drop = net(images)[:, 0] - net(background.view(-1, 2, 2, 2))[:, 0].mean()
        close(found.completeness, found.attribution.sum((1, 2, 3)) - drop, 1e-10)
    ratio = (few.figures["standard_error"] / many.figures["standard_error"]).mean().item()
    assert ratio == pytest.approx(10, rel=0.15)  # falls with the root of the samples


def test_expected_gradients_against_a_loop_over_its_own_draws() -> None:
    net = small_net()
    images = some_images(5, net)
    answers = explain_answers(net, images, index=[3, 1, 4, 15, 9])
    found = explained("expected-gradients:samples=7,background=6", answers)
    background = answers.ask("block", {}).background(6)
    target = net(images).argmax(1)
    draws = Stream(0, "background_gradients:background=6,samples=7", (3, 1, 4, 15, 9)).uniform((7, 2))
    terms = []
    for k in range(7):
        b = background[torch.as_tensor(np.floor(draws[:, k, 0] * 6).astype(int))]
        a = torch.as_tensor(draws[:, k, 1]).double().view(-1, 1, 1, 1)
        point = (b + a * (images - b)).requires_grad_()
        (gradient,) = torch.autograd.grad(net(point).gather(1, target[:, None]).sum(), point)
        terms.append((images - b) * gradient)
    close(found.attribution, torch.stack(terms).mean(0))
    close(found.figures["standard_error"], torch.stack(terms).std(0) / 7**0.5)
    drop = net(images).gather(1, target[:, None]).squeeze(1) - net(background)[:, target].mean(0)
    close(found.completeness, found.attribution.sum((1, 2, 3)) - drop)
    assert answers.ask("block", {}).calls.forwards == 5 * (1 + 7)


def test_without_training_data_the_background_is_refused() -> None:
    net = small_net()
    images = some_images(2, net)
    block = Block(Calls(net, batch_size=4), images, torch.zeros(2, dtype=torch.int64), Target("predicted"), "logit")
    answers = Answers(EXPLAIN, {"block": block}, seed=0, index=(0, 1))
    for text in ("expected-gradients", "ig:baseline=data"):
        with pytest.raises(UsageError, match="does not say what data"):
            maps_of(text, answers)


# guided integrated gradients


def authors_guided_ig(x_input, x_baseline, grad_func, steps, fraction, max_dist):
    """The published loop (Kapishnikov et al., 2021), for one image."""
    x = x_baseline.copy()
    l1_total = np.abs(x_input - x_baseline).sum()
    attr = np.zeros_like(x)
    for step in range(steps):
        grad_actual = grad_func(x)
        grad = grad_actual.copy()
        alpha = (step + 1.0) / steps
        alpha_min, alpha_max = max(alpha - max_dist, 0.0), min(alpha + max_dist, 1.0)
        x_min = x_baseline + (x_input - x_baseline) * alpha_min
        x_max = x_baseline + (x_input - x_baseline) * alpha_max
        l1_target = l1_total * (1 - (step + 1) / steps)
        gamma = np.inf
        while gamma > 1.0:
            x_old = x.copy()
            with np.errstate(invalid="ignore", divide="ignore"):
                x_alpha = np.where(x_input - x_baseline != 0, (x - x_baseline) / (x_input - x_baseline), np.nan)
            x_alpha[np.isnan(x_alpha)] = alpha_max
            x[x_alpha < alpha_min] = x_min[x_alpha < alpha_min]
            l1_current = np.abs(x - x_input).sum()
            if math.isclose(l1_target, l1_current, rel_tol=1e-9, abs_tol=1e-9):
                attr += (x - x_old) * grad_actual
                break
            grad[np.isclose(x, x_max, rtol=0, atol=1e-14)] = np.inf
            threshold = np.quantile(np.abs(grad), fraction, method="lower")
            s = np.logical_and(np.abs(grad) <= threshold, grad != np.inf)
            l1_s = (np.abs(x - x_max) * s).sum()
            gamma = (l1_current - l1_target) / l1_s if l1_s > 0 else np.inf
            if gamma > 1.0:
                x[s] = x_max[s]
            else:
                x[s] = (x + (x_max - x) * gamma)[s]
            attr += (x - x_old) * grad_actual
    return attr


@pytest.mark.parametrize(("steps", "fraction", "spread"), [(20, 0.25, 0.02), (7, 0.1, 0.3), (50, 0.5, 0.0), (9, 1, 1)])
def test_guided_ig_is_the_published_loop(steps: int, fraction: float, spread: float) -> None:
    net = small_net(side=7)
    images = some_images(5, net)
    images[0, 0, 2:4] = 0  # values that are the baseline's already
    answers = explain_answers(net, images)
    found = explained(f"guided-ig:steps={steps},fraction={fraction},spread={spread}", answers)
    for row, image in enumerate(images):
        target = int(net(image[None]).argmax())

        def gradient(x: np.ndarray, target: int = target) -> np.ndarray:
            point = torch.as_tensor(x)[None].requires_grad_()
            return torch.autograd.grad(net(point)[0, target], point)[0][0].numpy()

        theirs = authors_guided_ig(image.numpy(), np.zeros_like(image.numpy()), gradient, steps, fraction, spread)
        close(found.attribution[row], torch.as_tensor(theirs), 1e-9)
        drop = (net(image[None]) - net(torch.zeros_like(image)[None]))[0, target].item()
        assert found.completeness[row].item() == pytest.approx(theirs.sum() - drop, abs=1e-9)


def test_guided_ig_keeps_the_sum_better_with_more_steps() -> None:
    net = smooth_net()
    images = some_images(4, net)
    answers = explain_answers(net, images)
    gaps = [explained(f"guided-ig:steps={n}", answers).completeness.abs().mean().item() for n in (20, 200, 2000)]
    drop = (net(images) - net(torch.zeros_like(images))).gather(1, net(images).argmax(1)[:, None]).abs().mean().item()
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2] and gaps[2] < 1e-3 * drop


# a path of ever less blur


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.3])
def test_the_matrix_blurs_as_the_taps_do(sigma: float) -> None:
    images = torch.rand(2, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    by_matrix = blur_matrix(9, sigma) @ images @ blur_matrix(7, sigma).T
    close(by_matrix, gaussian_blur(images, sigma))


def test_blur_ig_of_a_linear_network_sums_exactly() -> None:
    net, w = linear_net()
    images = some_images(4, net)
    answers = explain_answers(net, images)
    mine = w[net(images).argmax(1)]
    for steps in (1, 6):
        found = explained(f"blur-ig:steps={steps},sigma=2", answers)
        close(found.attribution, mine * (images - gaussian_blur(images, 2.0)))
        close(found.completeness, torch.zeros(4, dtype=torch.float64))
    wide = 50 / 224 * 5
    close(maps_of("blur-ig", answers), mine * (images - gaussian_blur(images, wide)))


def test_blur_ig_is_the_integral_of_its_definition() -> None:
    net = smooth_net()
    images = some_images(2, net)
    found = explained("blur-ig:steps=400,sigma=1.5", explain_answers(net, images))
    target = net(images).argmax(1)
    total, fine = torch.zeros_like(images), 1500
    for k in range(fine):  # minus the gradient times the derivative of the blur in its width, from 1.5 to 0
        sigma = 1.5 * (k + 0.5) / fine
        point = gaussian_blur(images, sigma).requires_grad_()
        (gradient,) = torch.autograd.grad(net(point).gather(1, target[:, None]).sum(), point)
        h = 1e-5 * sigma
        total -= gradient * (gaussian_blur(images, sigma + h) - gaussian_blur(images, sigma - h)) / (2 * h) * 1.5 / fine
    close(found.attribution, total, 2e-3 * total.abs().max().item())
    gaps = [
        explained(f"blur-ig:steps={n},sigma=1.5", explain_answers(net, images)).completeness.abs().max().item()
        for n in (10, 40, 160)
    ]
    assert gaps[0] > 8 * gaps[1] > 64 * gaps[2]  # second order
