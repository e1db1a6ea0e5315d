"""The smallest perturbation: closed forms on linear models, and the library's on a trained one."""

from __future__ import annotations

import pytest
import torch

from tests.attack.runs import attacked
from tests.attack.trained import train_digits
from tests.nets import linear

W = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
IMAGES = 0.5 + 0.05 * torch.randn(8, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
LEAD = 0.2 - (IMAGES * (W[0] - W[1])).sum((1, 2, 3)).min()  # class 0 wins by 0.2 at least
NET = linear(W, torch.stack([LEAD, torch.zeros_like(LEAD)]))
LABELS = NET(IMAGES).argmax(1)
DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}


def nearest(norm: str) -> torch.Tensor:
    """The distance to the border, the box inactive."""
    logits, rows = NET(IMAGES), torch.arange(8)
    length = torch.linalg.vector_norm(W - W[LABELS].unsqueeze(1), DUAL[norm], (2, 3, 4))
    reach = (logits[rows, LABELS].unsqueeze(1) - logits) / length
    reach[rows, LABELS] = torch.inf
    return reach.min(1).values


@pytest.mark.parametrize(
    ("text", "norm", "near"),
    [
        ("ddn:steps=200,first=0.1", "l2", 0.055),  # its length changes by 5 % a step
        ("ddn:steps=800,first=0.1,gamma=0.005", "l2", 0.006),
        ("fmn:norm=linf,stride=0.2,steps=400", "linf", 0.005),
        ("fmn:norm=l2,stride=0.2,steps=400", "l2", 0.005),
        ("fmn:norm=l1,stride=0.2,steps=400", "l1", 0.03),
    ],
)
def test_the_distance_to_a_linear_border_is_found(text: str, norm: str, near: float) -> None:
    done, best = attacked(text, NET, IMAGES, LABELS), nearest(norm)
    assert best.min() > 0.01 and best.max() < 0.36 and done.success.all()
    assert (done.distance >= best * (1 - 1e-9)).all()
    assert (done.distance <= best * (1 + near)).all(), done.distance / best
    assert torch.equal(NET(done.images).argmax(1) != LABELS, done.success)
    assert done.broken_at.isnan().all()  # there is no radius


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # foolbox checks versions with a deprecated module
@pytest.mark.parametrize(
    ("text", "name"), [("ddn", "DDN"), ("fmn:norm=linf", "LInfFMN"), ("fmn:norm=l2", "L2FMN"), ("fmn:norm=l1", "L1FMN")]
)
def test_perturbations_are_as_small_as_the_library_finds(text: str, name: str) -> None:
    import foolbox

    trained = train_digits(robust=True, epochs=4)
    net, images, labels = trained.net, trained.images[:60], trained.labels[:60]
    done = attacked(f"{text}{',' if ':' in text else ':'}steps=60", net, images, labels, batch_size=60)
    right = (done.clean_logits.argmax(1) == labels).nonzero().flatten()
    library = getattr(foolbox.attacks, f"{name}Attack")(steps=60)
    _, found, broken = library(foolbox.PyTorchModel(net, bounds=(0, 1)), images, labels, epsilons=None)
    order = {"linf": torch.inf, "l1": 1}.get(text.partition("norm=")[2], 2)
    theirs = torch.linalg.vector_norm((found - images).flatten(1), order, 1)[right]
    assert done.success[right].all()
    assert done.distance[right].median() <= 1.01 * theirs[broken[right]].median()
    # they go by the cross-entropy, and in l1 project onto the ball alone: small differences to and fro
    assert (done.distance[right] <= 1.1 * theirs)[broken[right]].float().mean() > 0.95


def test_more_steps_never_end_further_away() -> None:
    near, far = (attacked(f"fmn:steps={steps}", NET, IMAGES, LABELS).distance for steps in (400, 20))
    assert near.mean() < far.mean()


def test_a_sample_that_cannot_be_broken_keeps_its_image() -> None:
    net = linear(W, torch.tensor([1e3, 0.0], dtype=torch.float64))
    for text in ("ddn:steps=20", "fmn:steps=20"):
        done = attacked(text, net, IMAGES, torch.zeros(8, dtype=torch.int64))
        assert not done.success.any() and torch.equal(done.images, IMAGES) and (done.distance == 0).all()
        torch.testing.assert_close(done.logits, net(IMAGES), rtol=0, atol=1e-12)
