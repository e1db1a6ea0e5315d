"""Faithfulness as a correlation: closed forms on linear models, and brute force from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import linear, small_net, some_images
from xaicli.evaluate.subsets import Subsets

NET = small_net(3, side=9)
IMAGES = some_images(4, NET)
TARGET = NET(IMAGES).argmax(1)
MAPS = torch.randn(4, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(7))

W = torch.randn(3, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LINEAR = linear(W, torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64))
SEEN = some_images(6, LINEAR)
CLASS = torch.tensor([0, 1, 2, 0, 1, 2])
EXACT = (W[CLASS] * SEEN).sum(1)  # w * x, what removing a pixel to black takes away
RANDOM = torch.randn(EXACT.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def f(images: torch.Tensor, row: int, quantity: str = "logit") -> np.ndarray:
    logits = NET(images)
    return (logits.softmax(1) if quantity == "probability" else logits)[:, TARGET[row]].numpy()


@pytest.mark.parametrize("metric", ["faithfulness-correlation", "sensitivity-n", "faithfulness-estimate:grid=all",
                                    "faithfulness-estimate:grid=3", "faithfulness-correlation:grid=3",
                                    "mu-fidelity:grid=all", "mu-fidelity:grid=3"])  # fmt: skip
def test_exact_contributions_of_a_linear_model_have_correlation_one(metric: str) -> None:
    assert value(metric, answers_of(LINEAR, SEEN, EXACT, target=CLASS)) == pytest.approx(1, abs=1e-12)
    assert value(metric, answers_of(LINEAR, SEEN, -2 * EXACT, target=CLASS)) == pytest.approx(-1, abs=1e-12)
    assert (value(metric, answers_of(LINEAR, SEEN, RANDOM, target=CLASS)) < 0.8).all()


@pytest.mark.parametrize("baseline", ["white", "mean", "blur", "noise"])
def test_exact_contributions_hold_for_every_baseline(baseline: str) -> None:
    plain = answers_of(LINEAR, SEEN, EXACT, target=CLASS)
    away = plain.ask("baseline_image", {"baseline": baseline})
    answers = answers_of(LINEAR, SEEN, (W[CLASS] * (SEEN - away)).sum(1), target=CLASS)
    for metric in ("faithfulness-correlation", "sensitivity-n", "faithfulness-estimate:grid=4"):
        text = f"{metric}{',' if ':' in metric else ':'}baseline={baseline}"
        assert value(text, answers) == pytest.approx(1, abs=1e-11)


def test_gradients_of_a_linear_model_are_monotone() -> None:
    """(f(x) - f(x with noise))^2 has the same mean factor for every pixel of a grey image: ranks are those of w^2."""
    net = linear(W[:, :1])
    grey = torch.full((3, 1, 5, 5), 0.5, dtype=torch.float64)
    answers = answers_of(net, grey, W[:, 0], target=torch.arange(3))
    assert (value("monotonicity-correlation:grid=all,draws=400", answers) > 0.97).all()
    random = answers_of(net, grey, RANDOM[:3], target=torch.arange(3))
    assert (value("monotonicity-correlation:grid=all,draws=100", random) < 0.6).all()


@pytest.mark.parametrize(("quantity", "grid"), [("logit", None), ("probability", 4)])
def test_subset_correlations_against_the_definition(quantity: str, grid: int | None) -> None:
    options = f"draws=25,quantity={quantity},grid={grid or 'all'},baseline=white"
    answers = answers_of(NET, IMAGES, MAPS)
    found = ask(f"sensitivity-n:shares=0.1,0.3,0.6,{options}", answers)
    curve = np.zeros((4, 3))
    for place, share in enumerate((0.1, 0.3, 0.6)):
        subsets: Subsets = answers.ask(
            "subset_removal", {"share": share, "grid": grid, "draws": 25, "baseline": "white"}
        )
        for row in range(4):
            predicted, observed = [], []
            for chosen in subsets.removed(row):
                mask = chosen[subsets.grid.places].view(9, 9)
                seen = torch.where(mask, 1.0, IMAGES[row])
                predicted.append(MAPS[row][mask].sum().item())
                observed.append(f(IMAGES[row : row + 1], row, quantity)[0] - f(seen[None], row, quantity)[0])
            curve[row, place] = pearsonr(predicted, observed).statistic
            if share == 0.3:
                mu = value(f"mu-fidelity:share=0.3,{options}", answers)[row]
                assert mu == pytest.approx(spearmanr(predicted, observed).statistic, abs=1e-9)
    assert found["curve"] == pytest.approx(curve, abs=1e-9)
    assert found["sensitivity-n@white"] == pytest.approx(curve.mean(1), abs=1e-9)
    assert value(f"faithfulness-correlation:share=0.3,{options}", answers) == pytest.approx(curve[:, 1], abs=1e-9)


def test_estimate_and_monotonicity_against_the_definition() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    estimate = value("faithfulness-estimate:grid=4,quantity=probability,baseline=mean", answers)
    monotonicity = value("monotonicity-correlation:grid=4,draws=3,quantity=probability", answers)
    cells = answers.ask("cell_removal", {"grid": 4}).grid
    grey = answers.ask("baseline_image", {"baseline": "mean"})
    noise = answers.ask("cell_noise", {"grid": 4, "draws": 3}).logits
    for row in range(4):
        whole = f(IMAGES[row : row + 1], row, "probability")[0]
        weights, effects, uncertain = [], [], []
        for cell in range(16):
            mask = (cells.places == cell).view(9, 9)
            seen = torch.where(mask, grey[row], IMAGES[row])
            weights.append(MAPS[row][mask].sum().item())
            effects.append(whole - f(seen[None], row, "probability")[0])
            after = noise[row, cell].softmax(1)[:, TARGET[row]].numpy()
            uncertain.append(((whole - after) ** 2).mean())
        assert estimate[row] == pytest.approx(pearsonr(weights, effects).statistic, abs=1e-9)
        assert monotonicity[row] == pytest.approx(spearmanr(np.abs(weights), uncertain).statistic, abs=1e-9)


@pytest.mark.parametrize("metric", ["faithfulness-correlation", "mu-fidelity", "sensitivity-n",
                                    "faithfulness-estimate", "monotonicity-correlation"])  # fmt: skip
def test_a_constant_map_and_a_constant_model_are_undefined(metric: str) -> None:
    constant = answers_of(NET, IMAGES, torch.full_like(MAPS, 0.1))
    if metric != "mu-fidelity":  # of 9 x 9 cells of a pixel each the same number is chosen
        metric = metric if "-n" in metric or "correlation" in metric else f"{metric}:grid=3"
    if "estimate" not in metric and "monotonicity" not in metric:
        assert np.isnan(value(metric, constant)).all()
    deaf = linear(torch.zeros(2, 2, 9, 9, dtype=torch.float64))
    assert np.isnan(value(metric, answers_of(deaf, IMAGES, MAPS))).all()
