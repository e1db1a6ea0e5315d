"""Curves of removal and insertion against closed forms and loops that know nothing of batches or plans."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import linear, small_net, some_images
from xaicli.explain.baselines import make_baseline
from xaicli.run.random import Stream

MAPS = torch.randn(4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
NET = small_net()
IMAGES = some_images(4, NET)


def probability(images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return NET(images).softmax(1).gather(1, target[:, None]).squeeze(1)


def logit(images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return NET(images).gather(1, target[:, None]).squeeze(1)


def replaced(start: torch.Tensor, end: torch.Tensor, phi: torch.Tensor, count: int) -> torch.Tensor:
    """One image whose `count` most relevant pixels are those of `end`."""
    out = start.clone()
    for place in np.argsort(-phi.numpy().ravel(), kind="stable")[:count]:
        row, column = divmod(int(place), phi.shape[1])
        out[:, row, column] = end[:, row, column]
    return out


def naive_area(start, end, steps: int, f) -> tuple[list[float], list[list[float]]]:
    areas, curves = [], []
    for x, b, phi in zip(start, end, MAPS, strict=True):
        target = NET(IMAGES[len(areas)][None]).argmax(1)
        pixels = phi.numel()
        k = min(steps, pixels)
        counts = [round(i * pixels / k) for i in range(k + 1)]
        curve = [f(replaced(x, b, phi, count)[None], target).item() for count in counts]
        steps_of = zip(counts, counts[1:], curve, curve[1:], strict=False)
        areas.append(sum((c1 - c0) / pixels * (y0 + y1) / 2 for c0, c1, y0, y1 in steps_of))
        curves.append(curve)
    return areas, curves


@pytest.mark.parametrize("steps", [1, 7, 36, 100])
def test_deletion_and_insertion_against_a_naive_loop(steps: int) -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    black = torch.zeros_like(IMAGES)
    blur = make_baseline("blur", IMAGES, Stream(0, "", (0,)))
    for text, start, end in (("deletion", IMAGES, black), ("insertion", blur, IMAGES)):
        areas, curves = naive_area(start, end, steps, probability)
        found = ask(f"{text}:steps={steps}", answers)
        assert found[text] == pytest.approx(areas, abs=1e-12)
        assert found["curve"] == pytest.approx(np.array(curves), abs=1e-12)


def test_other_quantities_are_rescaled_to_the_span() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    black = torch.zeros_like(IMAGES)
    target = NET(IMAGES).argmax(1)
    areas, _ = naive_area(IMAGES, black, 12, logit)
    low, high = logit(black, target), logit(IMAGES, target)
    expected = (torch.tensor(areas, dtype=torch.float64) - low) / (high - low)
    expected[high - low <= 1e-6] = np.nan
    assert expected.isfinite().any()
    assert value("deletion:steps=12,quantity=logit", answers) == pytest.approx(expected.numpy(), abs=1e-12, nan_ok=True)


def test_a_span_of_nothing_is_undefined() -> None:
    net = linear(torch.ones(2, 1, 3, 3, dtype=torch.float64))
    answers = answers_of(net, torch.zeros(1, 1, 3, 3, dtype=torch.float64), MAPS[:1, :3, :3])
    assert np.isnan(value("deletion:quantity=logit", answers)).all()
    assert value("deletion", answers) == pytest.approx([0.5])  # the probability needs no span


def linear_case():
    w = torch.rand(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 0.3
    net = linear(torch.cat([w, w - 5]))  # class 0 always wins
    images = some_images(3, net)
    return net, images, (w[0] * images).sum(1)


def test_linear_deletion_is_f_minus_the_cumulative_sum() -> None:
    net, images, phi = linear_case()
    curve = ask("deletion:steps=16,quantity=logit", answers_of(net, images, phi))["curve"]
    f = net(images)[:, :1]
    expected = torch.cat([f, f - phi.flatten(1).sort(1, descending=True).values.cumsum(1)], 1) / f
    defined = f[:, 0] > 1e-6
    assert defined.any()
    assert curve[defined] == pytest.approx(expected[defined].numpy(), abs=1e-12)


def test_insertion_in_morf_order_is_the_reversed_lerf_deletion() -> None:
    answers, against = answers_of(NET, IMAGES, MAPS), answers_of(NET, IMAGES, -MAPS)
    for steps in (9, 36):
        insertion = ask(f"insertion:baseline=black,steps={steps}", answers)
        deletion = ask(f"deletion:baseline=black,steps={steps}", against)
        assert np.array_equal(insertion["curve"], deletion["curve"][:, ::-1])
        assert insertion["insertion@black"] == pytest.approx(deletion["deletion"], abs=1e-15)


def test_ties_are_broken_by_a_permutation_that_all_explainers_share() -> None:
    flat = torch.zeros_like(MAPS)
    first = answers_of(NET, IMAGES, flat, index=[3, 1, 4, 5]).ask("order", {})
    other = answers_of(NET, IMAGES, flat + 2, index=[3, 1, 4, 5]).ask("order", {})
    assert torch.equal(first, other)
    assert first.sort(1).values.tolist() == [list(range(36))] * 4
    assert len({tuple(row) for row in first.tolist()}) == 4
    assert not torch.equal(first, answers_of(NET, IMAGES, flat, index=[3, 1, 4, 5], seed=1).ask("order", {}))
    half = flat.clone()
    half[:, :3] = 1
    order = answers_of(NET, IMAGES, half, index=[3, 1, 4, 5]).ask("order", {})
    for shuffled, ranked in zip(first.tolist(), order.tolist(), strict=True):
        assert ranked == [p for p in shuffled if p < 18] + [p for p in shuffled if p >= 18]


def cell_curve(
    row: int, cells: torch.Tensor, other: torch.Tensor, f=logit, *, pool=torch.sum, rising=False
) -> np.ndarray:
    """What f says while the cells [6, 6] of a row are replaced one by one, in the order of the map over each."""
    target = NET(IMAGES[row : row + 1]).argmax(1)
    pooled = [pool(MAPS[row][cells == cell]).item() for cell in range(int(cells.max()) + 1)]
    shown = IMAGES[row].clone()
    curve = [f(shown[None], target).item()]
    for cell in np.argsort(pooled) if rising else np.argsort(pooled)[::-1]:
        shown[:, cells == cell] = other.expand_as(shown)[:, cells == cell]
        curve.append(f(shown[None], target).item())
    return np.array(curve)


BLACK = torch.zeros((), dtype=torch.float64)
QUARTERS = torch.arange(6)[:, None] // 3 * 2 + torch.arange(6) // 3


def test_morf_lerf_aopc_and_abpc_on_patches_against_a_naive_loop() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    most, least = (
        np.array([cell_curve(row, QUARTERS, BLACK, rising=rising) for row in range(4)]) for rising in (False, True)
    )
    expected = {
        "morf": (most.mean(1), most),
        "lerf": (least.mean(1), least),
        "aopc": ((most[:, :1] - most).mean(1), most[:, :1] - most),
        "abpc": ((most[:, :1] - most).mean(1) - (least[:, :1] - least).mean(1), least - most),
        "selectivity": (np.trapezoid(most, dx=1 / 4), most),
    }
    for metric, (values, curve) in expected.items():
        found = ask(f"{metric}:grid=2", answers)
        assert found[metric] == pytest.approx(values, abs=1e-12), metric
        assert found["curve"] == pytest.approx(curve, abs=1e-12), metric
    assert answers.ask("subject", {}).calls.forwards == 4 * (2 + 2 * 3)  # two walks for all five


def test_srg_on_superpixels_against_a_naive_loop_and_on_patches_it_is_abpc() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    cells = answers.ask("pieces", {"segments": 7}).view(4, 6, 6)
    expected = [
        cell_curve(row, cells[row], BLACK, rising=True).mean() - cell_curve(row, cells[row], BLACK).mean()
        for row in range(4)
    ]
    assert value("srg:segments=7", answers) == pytest.approx(expected, abs=1e-12)
    for steps in (3, 100):
        patches = value(f"abpc:grid=4,steps={steps}", answers)
        assert np.array_equal(value(f"srg:segments=none,grid=4,steps={steps}", answers), patches)


def test_points_that_a_row_of_few_superpixels_repeats_count_once_and_are_asked_once() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    cells = (answers.ask("pieces", {"segments": 9}).amax(1) + 1).tolist()
    assert min(cells) < max(cells) <= 9
    walk = answers.ask("removal", {"segments": 9})
    assert walk.counts.shape == (4, 10) and [sorted(set(row)) for row in walk.counts.tolist()] == [
        list(range(count + 1)) for count in cells
    ]
    assert answers.ask("subject", {}).calls.forwards == 2 * 4 + sum(count - 1 for count in cells)
    distinct = [
        list(dict(zip(*row, strict=True)).values())
        for row in zip(walk.counts.tolist(), walk.scores("logit").tolist(), strict=True)
    ]
    means = [np.mean(row) for row in distinct]
    assert value("morf:segments=9", answers) == pytest.approx(means, abs=1e-12)


def test_irof_against_a_naive_loop() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    cells = answers.ask("pieces", {"segments": 9}).view(4, 6, 6)
    expected = []
    for row in range(4):
        colour = IMAGES[row].mean((1, 2))[:, None, None]
        curve = cell_curve(row, cells[row], colour, probability, pool=torch.mean)
        expected.append(1 - np.trapezoid(curve / curve[0], np.linspace(0, 1, len(curve))))
    assert value("irof:segments=9", answers) == pytest.approx(expected, abs=1e-12)


def test_pixel_flipping_of_a_linear_model_turns_every_term_round() -> None:
    net, images, phi = linear_case()
    w = net.network[1].weight[0].view(1, 1, 4, 4)
    order = phi.flatten(1).argsort(1, descending=True)
    flips = (w * (1 - 2 * images)).flatten(1).gather(1, order)
    f = net(images)[:, :1]
    curve = torch.cat([f, f + flips.cumsum(1)], 1)
    found = ask("pixel-flipping:steps=16", answers_of(net, images, phi))
    assert found["curve"] == pytest.approx(curve.numpy(), abs=1e-12)
    assert found["pixel-flipping"] == pytest.approx(torch.trapezoid(curve, dx=1 / 16, dim=1).numpy(), abs=1e-12)


def test_aopc_of_a_linear_model_is_the_mean_of_the_running_sum() -> None:
    net, images, phi = linear_case()
    running = torch.cat([torch.zeros(3, 1), phi.flatten(1).sort(1, descending=True).values.cumsum(1)], 1)
    assert value("aopc", answers_of(net, images, phi)) == pytest.approx(running.mean(1).numpy(), abs=1e-12)


def test_one_walk_in_each_direction_serves_all_curves_of_a_baseline() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    for text in ("deletion", "insertion:baseline=black", "morf", "lerf", "aopc", "pixel-flipping:baseline=black"):
        for quantity in ("probability", "logit", "log-probability", "margin"):
            value(f"{text}{',' if ':' in text else ':'}steps=9,quantity={quantity}", answers)
    value("monotonicity:steps=9", answers)
    assert answers.ask("subject", {}).calls.forwards == 4 * (2 + 2 * 8)


@pytest.mark.parametrize("steps", [6, 16])
def test_monotonicity_of_a_linear_model(steps: int) -> None:
    net, images, phi = linear_case()
    exact, negative = (ask(f"monotonicity:steps={steps}", answers_of(net, images, sign * phi)) for sign in (1, -1))
    assert exact["monotonicity"].tolist() == [1] * 3 and negative["monotonicity"].tolist() == [0] * 3
    if steps == 16:  # the paper's own criterion says the same of both: how many pixels add something
        adding = (phi >= 0).flatten(1).double().mean(1).numpy()
        assert exact["monotonicity-arya"] == pytest.approx(adding, abs=1e-15)
        assert negative["monotonicity-arya"] == pytest.approx(adding, abs=1e-15)


def test_a_model_that_never_changes_its_mind_has_no_monotonicity() -> None:
    net = linear(torch.zeros(2, 1, 4, 4, dtype=torch.float64))
    answers = answers_of(net, some_images(2, net), MAPS[:2, :4, :4])
    assert np.isnan(value("monotonicity", answers)).all()


FAITHFUL = {
    **dict.fromkeys(("deletion", "morf", "selectivity", "n-ord", "tpn", "tps"), -1),
    **dict.fromkeys(("insertion:baseline=black", "lerf", "aopc", "abpc", "srg", "irof", "monotonicity", "s-ord"), 1),
    **dict.fromkeys(("road", "sic", "aic:baseline=black", "keep-top:baseline=black", "average-gain:mask=binary"), 1),
    **dict.fromkeys(("remove-top:baseline=black", "pixel-flipping:baseline=black"), -1),
}


@pytest.mark.parametrize("text", FAITHFUL)
def test_exact_maps_are_better_than_random_ones(text: str) -> None:
    """A network set by hand: bright pixels of a cross speak for class 0, those of a frame against it."""
    w = torch.zeros(24, 24, dtype=torch.float64)
    w[11:13], w[:, 11:13] = 1.0, 1.0
    w[0] = w[-1] = w[:, 0] = w[:, -1] = -0.5
    net = linear(torch.stack([w, -w])[:, None] / 40, torch.tensor([-0.5, 0.5], dtype=torch.float64))
    images = some_images(12, net, seed=5) / 2
    images[:, 0] += (w > 0) / 2
    exact = w * images[:, 0]
    random = torch.rand(12, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) - 0.5
    scores = [
        np.nanmean(value(text, answers_of(net, images, maps, labels=torch.zeros(12, dtype=torch.int64))))
        for maps in (exact, random)
    ]
    assert FAITHFUL[text] * (scores[0] - scores[1]) > 0.005, scores
