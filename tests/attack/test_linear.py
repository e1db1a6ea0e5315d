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
