"""PGD is at least as strong as foolbox's on a small trained net, in every norm."""

from __future__ import annotations

import pytest
import torch

from tests.attack.runs import attacked
from tests.attack.trained import train_digits


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # foolbox checks versions with a deprecated module
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.7), ("l1", 3.0)])
def test_robust_accuracy_is_at_or_below_foolbox(norm: str, eps: float) -> None:
    import foolbox

    trained = train_digits(robust=True, epochs=5)
    net, images, labels = trained.net, trained.images, trained.labels
    library = {
        "linf": foolbox.attacks.LinfPGD,
        "l2": foolbox.attacks.L2PGD,
        "l1": foolbox.attacks.L1PGD,
    }[norm](rel_stepsize=2.5 / 20, steps=20)
    model = foolbox.PyTorchModel(net, bounds=(0, 1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _, found, _ = library(model, images, labels, epsilons=eps)
    theirs = int((net(found).argmax(1) == labels).sum())
    done = attacked(f"pgd:norm={norm},eps={eps}", net, images, labels, batch_size=50)
    assert 10 < theirs < 180  # a net that attacks can tell apart
    assert int((done.logits.argmax(1) == labels).sum()) <= theirs + 1  # random starts differ
    assert done.distance.max() <= eps * (1 + 1e-6)
