"""Broken images moved on within their ball: on linear models the farthest point is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from xaicli.attack.engine import Attacked
from xaicli.attack.goal import reached
from xaicli.attack.norms import size
from xaicli.attack.outward import outward
from xaicli.data.dataset import UNKNOWN
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls

EPS = 0.2
ROWS = 6


def linear() -> Classifier:
    """Class 1 wins where the pixels' sum exceeds that of grey."""
    layer = nn.Linear(16, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.zeros(16), torch.ones(16)]))
        layer.bias.copy_(torch.tensor([0.0, -8.0]))
    network = nn.Sequential(nn.Flatten(), layer)
    return Classifier(network, [0.0], [1.0], ["dark", "light"], (1, 4, 4)).double().eval().requires_grad_(False)


def broken(share: float, norm: str, target: int = UNKNOWN) -> tuple[Attacked, Tensor, Tensor]:
    """Rows a little darker than grey that a change of this share of the radius, in the best direction, has broken."""
    clean = torch.full((ROWS, 1, 4, 4), 0.499, dtype=torch.float64)
    change = torch.full_like(clean, share * EPS / {"linf": 1.0, "l2": 4.0, "l1": 16.0}[norm])
    logits = linear()(clean + change)
    none = torch.zeros(ROWS, dtype=torch.int64)
    done = Attacked(
        images=clean + change,
        logits=logits,
        clean_logits=linear()(clean),
        success=logits.argmax(1) == 1,
        distance=size(change, norm),
        steps=none,
        target=torch.full((ROWS,), target),
        stage=none.to(torch.uint8) + 1,
        broken_at=torch.full((ROWS,), torch.nan, dtype=torch.float64),
    )
    return done, clean, none


@pytest.mark.parametrize("target", [UNKNOWN, 1])
@pytest.mark.parametrize(("norm", "scale"), [("linf", 1.0), ("l2", 4.0), ("l1", 16.0)])
def test_the_direction_is_followed_to_the_border_of_the_ball(norm: str, scale: float, target: int) -> None:
    done, clean, labels = broken(0.4, norm, target)
    assert done.success.all()
    found = outward(done, clean, labels, norm, EPS, Calls(linear(), batch_size=4))
    torch.testing.assert_close(found.images, clean + EPS / scale, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.distance, torch.full((ROWS,), EPS, dtype=torch.float64))
    torch.testing.assert_close(found.logits, linear()(found.images))
    assert found.success.all() and reached(found.logits, labels, found.target).all()


def test_every_row_stays_in_its_own_ball() -> None:
    done, clean, labels = broken(0.1, "linf")
    radii = torch.tensor([0.05, 0.05, 0.1, 0.1, torch.nan, torch.nan], dtype=torch.float64)
    found = outward(replace(done, broken_at=radii), clean, labels, "linf", EPS, Calls(linear(), batch_size=4))
    # four times a tenth of the radius is as far as a change is stretched
    assert found.distance.tolist() == pytest.approx([0.05, 0.05, 0.08, 0.08, 0.08, 0.08])


def test_what_was_not_broken_stays_where_it_was() -> None:
    done, clean, labels = broken(0.4, "linf")
    held = torch.tensor([True, False] * 3)
    found = outward(replace(done, success=held), clean, labels, "linf", EPS, Calls(linear(), batch_size=4))
    assert torch.equal(found.images[~held], done.images[~held]) and torch.equal(found.logits[~held], done.logits[~held])
    assert (found.images[held] != done.images[held]).all()


@pytest.mark.parametrize(("norm", "eps"), [("linf", None), ("l0", 1.0)])
def test_where_changes_have_no_ball_they_stay_small(norm: str, eps: float | None) -> None:
    done, clean, labels = broken(0.4, "linf")
    assert outward(done, clean, labels, norm, eps, Calls(linear())) is done


def test_a_point_that_is_worse_is_not_taken() -> None:
    """Where moving on would mend the prediction, the image stays."""
    net = linear()

    class Band(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            total = x.flatten(1).mean(1)
            light = (total > 0.5) & (total < 0.56)
            return torch.stack([(~light).double(), light.double() * (1 + total)], 1)

    net.network = nn.Sequential(Band(), nn.Linear(2, 2, bias=False).double())
    with torch.no_grad():
        net.network[1].weight.copy_(torch.eye(2))
    done, clean, labels = broken(0.1, "linf")  # at .519; the factors lead to .524, .529, .539 and .579
    done = replace(done, logits=net(done.images))
    found = outward(done, clean, labels, "linf", EPS, Calls(net.eval().requires_grad_(False), batch_size=4))
    assert found.images.flatten().tolist() == pytest.approx([0.539] * (ROWS * 16))
