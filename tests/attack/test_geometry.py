"""Projections onto balls, boxes and hyperplanes, against general solvers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from xaicli.attack.hyperplane import reach
from xaicli.attack.norms import project, project_l1, random_point, size, sparse
from xaicli.attack.plan import Draw

RNG = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=RNG)


@pytest.mark.parametrize("eps", [0.05, 0.7, 2.5])
def test_the_l1_projection_is_the_nearest_point_of_ball_and_box(eps: float) -> None:
    centre = torch.rand(12, 1, 2, 3, dtype=torch.float64, generator=RNG)
    centre[0], centre[1] = 0, 1
    point = centre + 0.6 * drawn(12, 1, 2, 3)
    found = project(point, centre, eps, "l1")
    for x, y, mine in zip(centre.flatten(1).numpy(), point.flatten(1).numpy(), found.flatten(1).numpy(), strict=True):
        assert mine.min() >= 0 and mine.max() <= 1 and np.abs(mine - x).sum() <= eps + 1e-12
        # change = up - down, both positive: the ball is then one linear constraint
        bounds = [*((0, 1 - a) for a in x), *((0, a) for a in x)]
        best = minimize(
            lambda v, x=x, y=y: ((x + v[:6] - v[6:] - y) ** 2).sum(),
            np.zeros(12),
            jac=lambda v, x=x, y=y: 2 * np.concatenate([(d := x + v[:6] - v[6:] - y), -d]),
            bounds=bounds,
            constraints={"type": "ineq", "fun": lambda v: eps - v.sum(), "jac": lambda v: -np.ones(12)},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        np.testing.assert_allclose(mine, x + best.x[:6] - best.x[6:], atol=2e-6)


def test_the_l1_projection_takes_a_radius_for_each_sample_and_leaves_what_is_inside() -> None:
    centre, change = torch.full((4, 1, 5, 5), 0.5, dtype=torch.float64), 0.3 * drawn(4, 1, 5, 5)
    radii = torch.tensor([0.0, 0.4, 2.0, 99.0], dtype=torch.float64)
    found = project_l1(centre + change, centre, radii)
    for row, eps in enumerate(radii.tolist()):
        alone = project_l1((centre + change)[[row]], centre[[row]], eps)
        torch.testing.assert_close(found[[row]], alone, rtol=0, atol=1e-15)
    assert torch.equal(found[0], centre[0])
    torch.testing.assert_close(found[3], (centre + change)[3].clamp(0, 1), rtol=0, atol=1e-15)
    torch.testing.assert_close(size(found - centre, "l1")[1:3], radii[1:3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_hyperplane_is_reached_by_the_smallest_change(norm: str) -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(30, 6, dtype=torch.float64, generator=generator)
    points[0], points[1] = 0, 1
    weights = torch.randn(30, 6, dtype=torch.float64, generator=generator)
    weights[5, 2] = 0
    gaps = 2 * torch.randn(30, dtype=torch.float64, generator=generator)
    gaps[3] = 0
    found = reach(points, weights, gaps, norm)
    reached = 0
    for x, w, gap, mine in zip(points.numpy(), weights.numpy(), gaps.numpy(), found.numpy(), strict=True):
        assert (x + mine).min() >= -1e-15 and (x + mine).max() <= 1 + 1e-15
        least = np.minimum(w * (1 - x), -w * x).sum(), np.maximum(w * (1 - x), -w * x).sum()
        if not least[0] < -gap < least[1]:  # the box does not meet it: as far as it goes
            assert mine @ w == pytest.approx(least[0] if gap > 0 else least[1], abs=1e-12)
            continue
        reached += 1
        assert mine @ w == pytest.approx(-gap, abs=1e-12)
        assert np.linalg.norm(mine, {"linf": np.inf, "l2": 2, "l1": 1}[norm]) == pytest.approx(
            smallest(x, w, gap, norm), abs=1e-6
        )
    assert 10 < reached < 30


def smallest(x: np.ndarray, w: np.ndarray, gap: float, norm: str) -> float:
    """By linear programming, or by sequential quadratic programming."""
    if norm == "l2":
        best = minimize(
            lambda d: d @ d,
            np.zeros(6),
            jac=lambda d: 2 * d,
            bounds=list(zip(-x, 1 - x, strict=True)),
            constraints={"type": "eq", "fun": lambda d: d @ w + gap, "jac": lambda d: w},
            method="SLSQP",
            options={"ftol": 1e-16, "maxiter": 500},
        )
        return float(np.sqrt(best.fun))
    if norm == "l1":
        bounds = [*((0, 1 - a) for a in x), *((0, a) for a in x)]
        return float(linprog(np.ones(12), A_eq=[[*w, *-w]], b_eq=[-gap], bounds=bounds).fun)
    eye, one = np.eye(6), np.ones((6, 1))
    both = np.block([[eye, -one], [-eye, -one]])  # -t <= d <= t
    bounds = [*zip(-x, 1 - x, strict=True), (0, None)]
    return float(linprog([0] * 6 + [1], both, np.zeros(12), [[*w, 0]], [-gap], bounds).fun)


def test_sparse_steps_take_the_largest_values_that_have_room() -> None:
    gradient = torch.tensor([9.0, -8.0, 7.0, -6.0, 5.0, 0.1]).double().view(1, 1, 2, 3)
    point = torch.tensor([1.0, 0.0, 0.5, 0.5, 0.5, 0.5]).double().view(1, 1, 2, 3)
    step = sparse(gradient, point, 0.5, lambda: torch.zeros_like(point))
    torch.testing.assert_close(step.flatten(), torch.tensor([0, 0, 1, -1, 1, 0]).double() / 3)
    one = sparse(gradient, point, 0.01, lambda: torch.zeros_like(point))
    assert one.flatten().tolist() == [0, 0, 1, 0, 0, 0]
    dead = sparse(gradient * 0, point, 0.01, lambda: -gradient)
    assert dead.flatten().tolist() == [-1, 0, 0, 0, 0, 0]


def test_uniform_points_of_the_l1_ball() -> None:
    centre = torch.full((4000, 1, 1, 3), 0.5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    uniform = lambda *shape: torch.rand(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    draw = Draw(lambda: centre, lambda: uniform(4000, 1, 1, 3), lambda: uniform(4000))
    change = (random_point(centre, 0.4, "l1", draw) - centre).flatten(1)
    radius = change.abs().sum(1) / 0.4
    assert radius.max() <= 1 + 1e-12
    # the volume within a share r of the radius is r^3, and an octant's points have a mean of 1/4 of it a value
    assert [(radius < r).double().mean().item() for r in (0.5, 0.8)] == pytest.approx([0.125, 0.512], abs=0.03)
    assert (change.abs() / 0.4).mean(0).tolist() == pytest.approx([0.25] * 3, abs=0.01)
    assert (change > 0).double().mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.03)
