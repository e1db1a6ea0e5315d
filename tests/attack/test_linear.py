"""On a linear model the strongest perturbation is known in closed form."""

from __future__ import annotations

import pytest
import torch

from tests.attack.runs import attacked
from tests.nets import linear

W = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
NET = linear(W, torch.tensor([40.0, 0.0], dtype=torch.float64))  # far from the border: nothing breaks
IMAGES = 0.4 + 0.2 * torch.rand(6, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LABELS = torch.zeros(6, dtype=torch.int64)
UP = W[1] - W[0]  # the loss grows along it, wherever one is


@pytest.mark.parametrize("text", ["pgd:norm=linf,eps=0.1", "pgd:norm=linf,eps=0.1,random-start=false", "fgsm:eps=0.1"])
def test_linf_goes_to_the_corner(text: str) -> None:
    done = attacked(text, NET, IMAGES, LABELS)
    torch.testing.assert_close(done.images, IMAGES + 0.1 * UP.sign(), rtol=0, atol=1e-6)
    torch.testing.assert_close(done.distance, torch.full((6,), 0.1, dtype=torch.float64), rtol=0, atol=1e-12)
    assert not done.success.any()
    torch.testing.assert_close(done.logits, NET(done.images), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "text", ["pgd:norm=l2,eps=0.5", "pgd:norm=l2,eps=0.5,random-start=false", "fgsm:norm=l2,eps=0.5"]
)
def test_l2_goes_along_the_gradient(text: str) -> None:
    # a random start ends within 1e-6 of the optimum once it has been projected often enough
    done = attacked(text.replace("pgd:", "pgd:steps=200,step=0.5,"), NET, IMAGES, LABELS)
    torch.testing.assert_close(done.images, IMAGES + 0.5 * UP / UP.norm(), rtol=0, atol=1e-6)
    torch.testing.assert_close(done.distance, torch.full((6,), 0.5, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("text", ["pgd:sparsity=0.01,random-start=false", "pgd:sparsity=0.01", "fgsm:sparsity=0.01"])
def test_l1_spends_all_on_the_steepest_value(text: str) -> None:
    done = attacked(f"{text.replace('pgd:', 'pgd:steps=60,')},norm=l1,eps=0.3", NET, IMAGES, LABELS)
    best = torch.zeros_like(UP).flatten()
    best[UP.abs().argmax()] = 0.3 * UP.sign().flatten()[UP.abs().argmax()]
    torch.testing.assert_close(done.images, IMAGES + best.view_as(UP), rtol=0, atol=1e-6)
    torch.testing.assert_close(done.distance, torch.full((6,), 0.3, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["apgd", "apgd:loss=dlr", "apgd-t"])
@pytest.mark.parametrize(("norm", "best"), [("linf", 0.1 * UP.sign()), ("l2", 0.1 * UP / UP.norm())])
def test_auto_pgd_finds_the_optimum(name: str, norm: str, best: torch.Tensor) -> None:
    done = attacked(f"{name}{',' if ':' in name else ':'}norm={norm},eps=0.1", NET, IMAGES, LABELS)
    torch.testing.assert_close(done.images, IMAGES + best, rtol=0, atol=1e-6)
    assert done.steps.tolist() == [100] * 6 and not done.success.any()


NORMS = ["linf", "l2", "l1"]


@pytest.mark.parametrize("norm", NORMS)
def test_a_curve_breaks_a_sample_at_the_first_radius_that_reaches_the_border(norm: str) -> None:
    net = linear(W / 4, torch.tensor([1.4, 0.0], dtype=torch.float64))
    labels = net(IMAGES).argmax(1)
    margin = (net(IMAGES)[:, 0] - net(IMAGES)[:, 1]).abs()
    steepest = {"linf": UP.abs().sum(), "l2": UP.norm(), "l1": UP.abs().max()}[norm]
    reach = margin / steepest * 4
    radii = torch.linspace(0.2, 1.9, 9, dtype=torch.float64) * reach.median()
    assert radii.max() < 0.4  # the box stays inactive
    text = f"pgd:norm={norm},eps={','.join(f'{float(eps):.17g}' for eps in radii)},steps=100,sparsity=0.01"
    done = attacked(text, net, IMAGES, labels)
    expected = [next((float(eps) for eps in radii if eps > one), float("nan")) for one in reach]
    torch.testing.assert_close(
        done.broken_at, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=0, equal_nan=True
    )
    assert 0 < done.success.sum() < 6 and torch.equal(done.success, done.broken_at.isfinite())
    assert len(set(done.broken_at[done.success].tolist())) > 1


@pytest.mark.parametrize("norm", NORMS)
def test_fab_finds_the_nearest_image_of_another_class(norm: str) -> None:
    w = torch.randn(5, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    net = linear(w, torch.tensor([1.5, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    images = 0.5 + 0.05 * torch.randn(8, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    logits = net(images)
    labels, rows = logits.argmax(1), torch.arange(8)
    order = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]  # the dual norm
    length = torch.linalg.vector_norm(w - w[labels].unsqueeze(1), order, (2, 3, 4))
    reach = (logits[rows, labels].unsqueeze(1) - logits) / length
    reach[rows, labels] = torch.inf
    nearest = reach.min(1).values
    assert nearest.max() < 0.35
    for row in range(8):
        for scale, broken in ((1.006, True), (0.999, False)):  # steps end 5 % beyond the border, of ever shorter ones
            text = f"fab-t:norm={norm},eps={float(nearest[row]) * scale:.17g}"
            assert attacked(text, net, images[[row]], labels[[row]], batch_size=1).success.item() is broken


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_sample_breaks_exactly_when_the_ball_reaches_the_border(norm: str) -> None:
    net = linear(W / 4, torch.tensor([1.4, 0.0], dtype=torch.float64))
    labels = net(IMAGES).argmax(1)
    margin = (net(IMAGES)[:, 0] - net(IMAGES)[:, 1]).abs()
    reach = margin / (UP.abs().sum() if norm == "linf" else UP.norm()) * 4
    assert reach.max() < 0.4  # the box stays inactive
    for scale, broken in ((1.01, True), (0.99, False)):
        for row in range(6):
            eps = float(reach[row]) * scale
            text = f"pgd:norm={norm},eps={eps:.17g},steps=100"
            done = attacked(text, net, IMAGES[row : row + 1], labels[row : row + 1], batch_size=1)
            assert done.success.tolist() == [broken]


def test_targeted_goes_towards_the_named_class() -> None:
    w = torch.randn(4, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    net = linear(w, torch.tensor([9.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    images = torch.full((3, 1, 4, 4), 0.5, dtype=torch.float64)
    images += 0.01 * torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    labels = torch.zeros(3, dtype=torch.int64)
    logits = net(images)
    assert (logits.argmax(1) == 0).all()
    for rule, aim in (("least-likely", logits.argmin(1)), ("runner-up", logits.topk(2).indices[:, 1])):
        done = attacked(f"pgd:targeted=true,towards={rule},eps=0.5,steps=50", net, images, labels)
        assert torch.equal(done.target, aim)
        assert torch.equal(done.success, done.logits.argmax(1) == aim)
        reachable = attacked(f"pgd:targeted=true,towards={rule},eps=1e-4", net, images, labels)
        assert not reachable.success.any()
        assert (reachable.logits.gather(1, aim[:, None]) > logits.gather(1, aim[:, None])).all()
    random = attacked("pgd:targeted=true,towards=random,eps=0.01", net, images.repeat(40, 1, 1, 1), labels.repeat(40))
    counts = torch.bincount(random.target, minlength=4).tolist()
    assert counts[0] == 0 and min(counts[1:]) > 20  # 120 draws of three classes
