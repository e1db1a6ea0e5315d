"""Every step of private training against the formula, written out row by row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.train.private.runs import CLIP, SECRET, SIGMA, budget, net, trained
from tests.train.test_recipes import FIT, VAL, stripes
from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.models.classifier import Classifier
from xaicli.run.random import Stream
from xaicli.train.batch import Batch, augment
from xaicli.train.judge import Judge
from xaicli.train.private.secret import Secret

PLAIN = "momentum=0,lr=0.4"
Images = Callable[[Classifier, int, int], Tensor]  # of a row in an epoch, [K, 1, 6, 6]


def plain_images(classifier: Classifier, row: int, epoch: int) -> Tensor:
    return torch.as_tensor(DATA.pixels[row : row + 1]).double()


DATA = stripes(24, 3)


def gradient(classifier: Classifier, images: Tensor, row: int) -> tuple[tuple[Tensor, ...], float]:
    """Of the mean loss over a row's images, with its norm."""
    loss = cross_entropy(classifier(images), torch.full((len(images),), int(DATA.labels[row])))
    parts = torch.autograd.grad(loss, list(classifier.parameters()))
    return parts, float(torch.cat([part.flatten() for part in parts]).norm())


def by_hand(steps: int, batch: int, images_of: Images = plain_images, per_epoch: int = 100) -> tuple[Classifier, list]:
    """Plain descent at rate 0.4: sum of clipped gradients, one row after another, plus the noise, over B."""
    classifier, sizes = net(), []
    for step in range(steps):
        rows = SECRET.rows(step, 24, batch / 24)
        sizes.append(len(rows))
        total = [torch.zeros_like(weight) for weight in classifier.parameters()]
        for row in rows.tolist():
            images = images_of(classifier, row, 1 + step // per_epoch)
            parts, norm = gradient(classifier, images, row)
            for mine, part in zip(total, parts, strict=True):
                mine += part * min(1.0, CLIP / norm)
        with torch.no_grad():
            for (name, weight), mine in zip(classifier.named_parameters(), total, strict=True):
                weight -= 0.4 * (mine + SIGMA * CLIP * SECRET.normal(step, name, weight)) / batch
    return classifier, sizes


def equal(first: Classifier, second: Classifier, tolerance: float = 1e-9) -> None:
    for (name, mine), other in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("batch", [1, 5, 24])
def test_steps_are_the_formula_empty_batches_included(batch: int) -> None:
    expected, sizes = by_hand(12, batch)
    assert (0 in sizes) == (batch == 1) and (sizes == [24] * 12) == (batch == 24)
    assert len(set(sizes)) > 2 or batch == 24
    found, _ = trained(PLAIN, budget(24, batch, 12), rows=DATA)
    equal(found, expected)
    norms = [gradient(net(), plain_images(net(), row, 1), row)[1] for row in range(24)]
    assert min(norms) < CLIP < max(norms)  # or clipping would not be seen


@pytest.mark.parametrize("physical", [1, 3, 7])
def test_pieces_of_a_batch_do_not_matter(physical: int) -> None:
    equal(trained(PLAIN, budget(24, 9, 6), physical=physical)[0], trained(PLAIN, budget(24, 9, 6))[0], 1e-12)


@pytest.mark.parametrize("physical", [3, 64])
def test_copies_are_averaged_before_they_are_clipped(physical: int) -> None:
    def copies(classifier: Classifier, row: int, epoch: int) -> Tensor:
        stream = Stream(0, f"train:{epoch}", tuple(range(3 * row, 3 * row + 3)))
        images = augment(plain_images(classifier, row, epoch).repeat(3, 1, 1, 1), "crop-flip", stream)
        different.append(len(images.unique(dim=0)))
        return images

    different: list[int] = []
    expected, _ = by_hand(6, 8, copies, per_epoch=3)
    assert max(different) == 3
    found, _ = trained(f"{PLAIN},multiplicity=3,augment=crop-flip", budget(24, 8, 6), rows=DATA, physical=physical)
    equal(found, expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_adversarial_examples_are_those_of_one_image_alone(norm: str) -> None:
    def attacked(classifier: Classifier, row: int, epoch: int) -> Tensor:
        attack = pgd(norm=norm, eps=0.2, step=0.1, steps=3)
        clean, label = plain_images(classifier, row, epoch), torch.tensor([int(DATA.labels[row])])
        batch = Batch(classifier, clean, label, Stream(0, f"train:{epoch}", (row,)))
        moved = perturb(attack, classifier, clean, label, batch.draw)
        assert (moved - clean).abs().max() > 0.05
        return moved

    expected, _ = by_hand(4, 6, attacked)
    found, _ = trained(f"{PLAIN},norm={norm},eps=0.2,step=0.1,steps=3", budget(24, 6, 4), rows=DATA)
    equal(found, expected, 1e-7)


def test_the_average_of_the_weights_is_kept_and_none_of_its_steps_is_left_out() -> None:
    _, done = trained(f"{PLAIN},ema=0.5", budget(24, 5, 7))
    average: dict[str, Tensor] = {}
    for steps in range(1, 8):
        now = dict(trained(PLAIN, budget(24, 5, steps))[0].named_parameters())
        average = {name: average[name] * 0.5 + now[name] * 0.5 if average else now[name] for name in now}
    for name, weight in average.items():
        torch.testing.assert_close(done.best[name], weight.detach(), rtol=0, atol=1e-12)


def test_the_last_epoch_is_kept_however_good_the_others_are() -> None:
    class Falling(Judge):
        def figures(self, classifier: Classifier) -> dict[str, float]:
            falling.append(0.9 - 0.2 * len(falling))
            return {"val_accuracy": falling[-1]}

    falling: list[float] = []
    classifier, done = trained(f"{PLAIN},ema=0", budget(24, 8, 9), judge=Falling(VAL, None, 0))
    assert [entry["val_accuracy"] for entry in done.history] == falling and len(falling) == 3
    assert done.best_epoch == 3
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(done.best[name], tensor)


def test_history_has_no_figure_of_the_training_rows() -> None:
    """Not even their loss, on which nobody has put noise."""
    _, done = trained(PLAIN, budget(24, 8, 9))
    assert [sorted(entry) for entry in done.history] == [["epoch", "epsilon", "lr", "val_accuracy"]] * 3


def test_epsilon_grows_to_that_of_the_whole_training() -> None:
    planned = budget(90, 10, 31)
    _, done = trained(PLAIN, planned, rows=FIT)
    told = [entry["epsilon"] for entry in done.history]
    assert told == [planned.after(steps) for steps in (9, 18, 27, 31)]
    assert told == sorted(told) and told[0] < told[-1] == planned.epsilon
    _, loud = trained(PLAIN, budget(90, 10, 9, noise_multiplier=0.0), rows=FIT)
    assert "epsilon" not in loud.history[0]


def test_the_rate_is_the_one_asked_for_and_not_that_of_a_whole_number_of_batches() -> None:
    """1,000 rows in batches of 600: two batches of 500 would be another mechanism."""
    planned = budget(1000, 600, 2)
    assert planned.sample_rate == 0.6 and planned.per_epoch == 2
    drawn = [len(SECRET.rows(step, planned.rows, planned.sample_rate)) for step in range(200)]
    assert np.mean(drawn) == pytest.approx(600, abs=4 * np.sqrt(1000 * 0.24 / 200))


def test_another_secret_gives_other_rows_and_other_noise() -> None:
    one, other = Secret.fresh(), Secret.fresh()
    assert one.rows(0, 1000, 0.5).tolist() != other.rows(0, 1000, 0.5).tolist()
