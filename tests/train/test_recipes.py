"""Recipes on one batch and over whole short trainings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.nets import classify
from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.data.dataset import Dataset, Images, to_float
from xaicli.data.open import open_data
from xaicli.errors import InputError
from xaicli.methods import TABLE
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.run.random import Stream, generator
from xaicli.specs import parse_spec
from xaicli.train.batch import Batch, augment
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, Schedule, train_model
from xaicli.train.recipes import adversarial, standard
from xaicli.train.state import Training


@dataclass(frozen=True, eq=False, kw_only=True)
class Stripes(Dataset):
    """Bright left or right halves under noise, sorted by class."""

    pixels: np.ndarray

    def read(self, positions) -> Images:
        return Images(self.pixels[positions], np.ones(len(positions), dtype=bool))


def stripes(count: int, seed: int) -> Stripes:
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(count) % 2)
    pixels = rng.random((count, 1, 6, 6)).astype(np.float32) * 0.7
    pixels[labels == 0, :, :, :3] += 0.2
    pixels[labels == 1, :, :, 3:] += 0.2
    shape = {"channels": 1, "height": 6, "width": 6, "classes": ("left", "right"), "digest": "0" * 64}
    return Stripes(name="stripes", split="fit", labels=labels, index=np.arange(count), pixels=pixels, **shape)


FIT, VAL = stripes(90, 0), stripes(60, 1)


def fresh(dtype: torch.dtype = torch.float32) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    return classify(network, (1, 6, 6), 2, dtype).requires_grad_().train()


def trained(
    recipe: str, *, epochs: int = 3, seed: int = 0, physical: int = 16, attack=None
) -> tuple[Classifier, Training]:
    net = fresh()
    spec = parse_spec("train", recipe)
    schedule = Schedule(epochs, 16, physical, seed)
    return net, train_model(net, Pixels(FIT), Judge(VAL, attack, 0), spec, schedule, "test")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_adversarial_with_eps_zero_is_standard_bit_for_bit(norm: str) -> None:
    plain = trained("standard:augment=none")[1]
    robust = trained(f"adversarial:norm={norm},eps=0,steps=2,augment=none")[1]
    assert same(plain.best, robust.best)
    assert [entry["loss"] for entry in plain.history] == [entry["loss"] for entry in robust.history]
    assert not same(plain.best, trained(f"adversarial:norm={norm},eps=0.1,steps=2,augment=none")[1].best)


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    torch.manual_seed(1)
    first = trained("standard:mixup=0.4,ema=0.9")[1]
    torch.manual_seed(2)  # the global generator has no say
    assert same(first.best, trained("standard:mixup=0.4,ema=0.9")[1].best)
    assert not same(first.best, trained("standard:mixup=0.4,ema=0.9", seed=1)[1].best)


def test_one_step_is_nesterov_momentum_on_the_mean_loss() -> None:
    net, reference = fresh(), fresh()
    spec = parse_spec("train", "standard:augment=none,schedule=constant,lr=0.1,weight-decay=0.01")
    small = stripes(16, 3)
    train_model(net, Pixels(small), Judge(VAL, None, 0), spec, Schedule(1, 16, 16, 0), "test")
    order = generator(0, "shuffle", 1).permutation(16)
    loss = cross_entropy(reference(torch.as_tensor(small.pixels[order])), torch.as_tensor(small.labels[order]))
    loss.backward()
    for mine, other in zip(net.parameters(), reference.parameters(), strict=True):
        slope = other.grad + 0.01 * other.detach()
        torch.testing.assert_close(mine.detach(), other.detach() - 0.1 * (slope + 0.9 * slope), rtol=0, atol=1e-6)


def test_losses_of_the_recipes() -> None:
    net = fresh(torch.float64)
    images, labels = torch.as_tensor(FIT.pixels[30:60]).double(), torch.tensor(FIT.labels[30:60])
    batch = Batch(net, images, labels, Stream(0, "t", tuple(range(30))))
    p = net(images).log_softmax(1)
    picked = p.gather(1, labels[:, None]).mean()
    assert standard(batch).item() == pytest.approx(-picked.item(), abs=1e-12)
    smooth = -(0.9 * picked + 0.1 * p.mean())
    assert standard(batch, label_smoothing=0.1).item() == pytest.approx(smooth.item(), abs=1e-12)
    mixed, ours, theirs, share = batch.mixed(0.4)
    assert 0 < share < 1 and torch.equal(mixed, share * images + (1 - share) * images.flip(0))
    q = net(mixed)
    expected = share * cross_entropy(q, ours) + (1 - share) * cross_entropy(q, theirs)
    assert standard(batch, mixup=0.4).item() == pytest.approx(expected.item(), abs=1e-12)
    moved = perturb(pgd(eps=0.05, steps=3), net, images, labels, batch.draw)
    loss = adversarial(batch, eps=0.05, steps=3)
    assert loss.item() == pytest.approx(cross_entropy(net(moved), labels).item(), abs=1e-12)
    assert loss.item() > -picked.item()


def test_every_recipe_with_a_threat_model_has_the_common_options() -> None:
    robust = [name for name in TABLE["train"] if parse_spec("train", name).options.get("norm", "none") != "none"]
    assert robust == ["adversarial", "trades", "mart", "fast", "free"]
    for name in robust:
        spec = parse_spec("train", f"{name}:awp=true,ema=0.999,norm=l2,schedule=cyclic,augment=none")
        assert {"awp": True, "ema": 0.999}.items() <= spec.options.items()


@pytest.mark.slow
def test_every_robust_recipe_withstands_on_digits_what_breaks_a_standard_model() -> None:
    """PGD-20 at 0.1 on the first 200 test digits, after six short epochs of a tiny network."""
    fit, val, test = (open_data("digits", split=split, shape=(1, 16, 16)) for split in ("fit", "val", "test"))
    pixels, images = Pixels(fit), torch.as_tensor(to_float(test.read(np.arange(200)).pixels))
    labels, draw = torch.tensor(test.labels[:200]), Stream(0, "t", tuple(range(200)))
    found: dict[str, float] = {}
    for recipe in (
        "standard:lr=0.2",
        "adversarial:eps=0.1,steps=3,lr=0.2",
        "trades:eps=0.1,steps=3,lr=0.2",
        "mart:eps=0.1,steps=3,lr=0.2",
        "fast:eps=0.1",
        "free:eps=0.1,replays=3",
        "fast:eps=0.1,awp=true,ema=0.9",
    ):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(parse_arch("cnn:width=8,depth=3"), 10, 1, (16, 16))
        net = Classifier(network, [0.3], [0.35], fit.classes, fit.shape)
        spec = parse_spec("train", recipe)
        done = train_model(net, pixels, Judge(val, None, 0), spec, Schedule(6, 32, 32, 0), "test")
        net.load_state_dict(done.best)
        batch = Batch(net.eval(), images, labels, draw)
        moved = perturb(pgd(eps=0.1, steps=20), net, images, labels, batch.draw)
        found[recipe] = (net(moved).argmax(1) == labels).double().mean().item()
    plain = found.pop("standard:lr=0.2")
    assert plain < 0.1 and min(found.values()) > 0.35, found


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_training_examples_fill_the_ball_and_leave_the_model_alone(norm: str) -> None:
    net = fresh(torch.float64)
    net.network[1].eval()
    flags = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images, labels = torch.as_tensor(FIT.pixels[:20]).double() * 0.5 + 0.2, torch.tensor(FIT.labels[:20])
    batch = Batch(net, images, labels, Stream(0, "t", tuple(range(20))))
    moved = perturb(pgd(norm=norm, eps=0.03, steps=10), net, images, labels, batch.draw)
    delta = (moved - images).flatten(1)
    size = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    torch.testing.assert_close(size, torch.full((20,), 0.03, dtype=torch.float64), rtol=0, atol=1e-9)
    assert same(before, net.state_dict()) and [module.training for module in net.modules()] == flags
    assert all(parameter.grad is None for parameter in net.parameters()) and not moved.requires_grad
    net.eval()  # BatchNorm was in eval mode while they were made
    rises = cross_entropy(net(moved), labels, reduction="none") - cross_entropy(net(images), labels, reduction="none")
    assert (rises > 0).all()


def test_training_learns_and_keeps_the_best_epoch() -> None:
    net, done = trained("standard:augment=none,lr=0.05", epochs=6)
    accuracies = [entry["val_accuracy"] for entry in done.history]
    assert [entry["epoch"] for entry in done.history] == [1, 2, 3, 4, 5, 6]
    assert max(accuracies) > 0.9 and done.best_epoch == 6 - accuracies[::-1].index(max(accuracies))
    net.load_state_dict(done.best)
    right = net.eval()(torch.as_tensor(VAL.pixels)).argmax(1) == torch.tensor(VAL.labels)
    assert right.double().mean().item() == max(accuracies)


def test_robust_recipes_are_selected_by_robust_accuracy() -> None:
    _, done = trained("adversarial:eps=0.1,steps=2,augment=none,lr=0.05", epochs=4, attack=pgd(eps=0.1, steps=3))
    ranks = [(entry["val_robust_accuracy"], entry["val_accuracy"]) for entry in done.history]
    assert ranks[done.best_epoch - 1] == max(ranks)
    assert all(robust <= clean for robust, clean in ranks)


def test_the_judge_attacks_rows_of_every_class() -> None:
    net = fresh().eval()  # rows are sorted by class: the first ones would all be of one
    judge = Judge(VAL, pgd(eps=0.0, steps=1), 0, attacked_rows=20)
    figures = judge.figures(net)
    right = (net(torch.as_tensor(VAL.pixels)).argmax(1) == torch.tensor(VAL.labels)).double()
    assert figures["val_accuracy"] == pytest.approx(right.mean().item(), abs=1e-12)
    rows = np.sort(generator(0, "judge:stripes").permutation(60)[:20])
    assert set(VAL.labels[rows]) == {0, 1}
    assert figures["val_robust_accuracy"] == right[rows].mean().item()


def test_the_averaged_weights_are_an_exponential_mean() -> None:
    net = fresh()
    spec = parse_spec("train", "standard:augment=none,ema=0.5,schedule=constant,lr=0.1")
    steps: list[torch.Tensor] = []
    weight = net.network[0].weight
    hook = net.register_forward_hook(lambda *_: steps.append(weight.detach().clone()))
    done = train_model(net, Pixels(stripes(48, 3)), Judge(VAL, None, 0), spec, Schedule(1, 16, 16, 0), "test")
    hook.remove()
    after = [*steps[1:3], weight.detach()]  # the weights after each of the three steps; later calls judge
    mean = after[0]
    for later in after[1:]:
        mean = 0.5 * mean + 0.5 * later
    torch.testing.assert_close(done.best["network.0.weight"], mean, rtol=0, atol=1e-6)


def test_a_training_that_diverges_says_so() -> None:
    with pytest.raises(InputError, match="diverged in epoch 1"):
        trained("standard:lr=1e30,schedule=constant")


def test_augmentation_shifts_and_mirrors_by_the_rows_own_numbers() -> None:
    images = torch.arange(2 * 3 * 16 * 16, dtype=torch.float32).view(2, 3, 16, 16)
    stream = Stream(4, "t", (3, 8))
    moved = augment(images, "crop-flip", stream)
    draws = stream.fork("augment").uniform((3,))
    for image, (u, v, w), found in zip(images, draws, moved, strict=True):
        down, right = math.floor(u * 5) - 2, math.floor(v * 5) - 2
        rows, columns = (np.clip(np.arange(16) + shift, 0, 15) for shift in (down, right))
        expected = image[:, rows][:, :, columns]
        assert torch.equal(found, expected.flip(2) if w < 0.5 else expected)
    assert augment(images, "none", stream) is images
    assert torch.equal(augment(images, "auto", stream), moved)
    assert torch.equal(augment(images[:, :1], "auto", stream), augment(images[:, :1], "crop", stream))
    assert torch.equal(augment(images[1:], "crop", Stream(4, "t", (8,))), augment(images, "crop", stream)[1:])
