"""Broken attacks and models that hide their gradients are each caught by a check; a sound attack passes all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xaicli.attack.sanity as checks
from tests.nets import small_net, some_images
from xaicli.attack.engine import Attacked
from xaicli.attack.norms import project
from xaicli.attack.plan import Attack, Series
from xaicli.attack.runner import runner
from xaicli.attack.sanity import checks_of, rows_of, sanity
from xaicli.attack.trial import Louder, Suspect, Trial
from xaicli.attack.verdicts import Verdict, to_curve
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.random import Stream
from xaicli.specs import parse_spec

NET = small_net(seed=1, classes=4, side=8, dtype=torch.float32)
ROWS = 16
IMAGES = 0.2 + 0.6 * some_images(ROWS, NET)
EPS = 0.015


def trial_of(suspect: Suspect, net: Classifier = NET) -> Trial:
    labels = NET(IMAGES).argmax(1)
    return Trial(suspect, Calls(net, batch_size=8), IMAGES, labels, Stream(0, "attack", tuple(range(ROWS))))


def tried(suspect: Suspect, net: Classifier = NET) -> dict[str, Verdict]:
    return dict(zip(checks_of(suspect), sanity(trial_of(suspect, net)), strict=True))


def passes(name: str, suspect: Suspect, net: Classifier = NET) -> bool:
    """What one check says, without the others."""
    assert name in checks_of(suspect)
    verdict: Verdict = getattr(checks, name.replace("-", "_"))(trial_of(suspect, net))
    return verdict.passed


def suspect(text: str, begin: Any = runner) -> Suspect:
    return Suspect.of(parse_spec("attack", text), begin)


def failed(found: dict[str, Verdict]) -> set[str]:
    return {name for name, one in found.items() if not one.passed}


EVERY = {
    "bounds",
    "verdict",
    "deterministic",
    "steps",
    "noise",
    "eps",
    "unbounded",
    "black-box",
    "gradients",
    "scale",
}


@pytest.mark.parametrize("text", [f"pgd:eps={EPS}", f"pgd:eps={EPS},random-start=false", "pgd:norm=l2,eps=0.12"])
def test_a_sound_attack_on_a_sound_model_passes_everything(text: str) -> None:
    found = tried(suspect(text))
    assert found.keys() == EVERY and failed(found) == set(), found
    assert found["steps"].value == found["noise"].value == 1.0


def broken(change: Callable[[Attack], Attack], text: str = f"pgd:eps={EPS}") -> Suspect:
    """PGD with a mistake in it."""
    sound = suspect(text)
    return replace(sound, make=lambda **options: change(sound.make(**options)))


def no_projection(attack: Attack) -> Attack:
    def move(point: Tensor, clean: Tensor, gradient: Tensor, draw: Any) -> Tensor:
        return point + 2 * attack.eps * gradient.sign()

    return replace(attack, move=move)


def sign_flip(attack: Attack) -> Attack:
    return replace(attack, move=lambda point, clean, gradient, draw: attack.move(point, clean, -gradient, draw))


def zero_step(attack: Attack) -> Attack:
    return replace(attack, move=lambda point, clean, gradient, draw: point)


def wrong_normalisation(attack: Attack) -> Attack:
    mean, std = 0.5, 0.25

    def move(point: Tensor, clean: Tensor, gradient: Tensor, draw: Any) -> Tensor:
        normal, centre = (point - mean) / std, (clean - mean) / std
        moved = normal + attack.eps / 4 * gradient.sign()
        return centre + (moved - centre).clamp(-attack.eps, attack.eps)  # and for the pixels themselves

    return replace(attack, move=move)


@pytest.mark.parametrize(
    ("change", "caught_by"),
    [
        (no_projection, "bounds"),
        (wrong_normalisation, "bounds"),
        (sign_flip, "steps"),
        (sign_flip, "noise"),
        (zero_step, "steps"),
        (zero_step, "noise"),
    ],
)
def test_a_broken_attack_is_caught(change: Callable[[Attack], Attack], caught_by: str) -> None:
    assert not passes(caught_by, broken(change))


def test_a_weak_attack_is_no_better_than_searching_blindly() -> None:
    def first_row_only(attack: Attack) -> Attack:
        def move(point: Tensor, clean: Tensor, gradient: Tensor, draw: Any) -> Tensor:
            gradient = torch.cat([gradient[:, :, :1], torch.zeros_like(gradient[:, :, 1:])], 2)
            return project(point + 0.002 * gradient.sign(), clean, attack.eps, "linf")

        return replace(attack, move=move)

    weak = broken(first_row_only, f"pgd:eps={2 * EPS},random-start=false")
    assert not passes("black-box", weak) and not passes("unbounded", weak)


class InHalf:
    """Judges by bfloat16 what is stored in float32."""

    def __init__(self, attack: Any, calls: Calls, stream: Stream) -> None:
        self.inner, self.calls = runner(attack, calls, stream), calls

    def run(self, images: Tensor, labels: Tensor) -> Attacked:
        done = self.inner.run(images, labels)
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            logits = self.calls.classifier(done.images).float()
        success = (logits.argmax(1) != labels) & (done.clean_logits.argmax(1) == labels)
        return replace(done, logits=logits, success=success)


def test_verdicts_in_bfloat16_are_caught() -> None:
    assert not passes("verdict", suspect(f"pgd:eps={EPS}", InHalf))
    assert passes("verdict", suspect(f"pgd:eps={EPS}", partial(runner, bf16=True)))  # the engine keeps its word


def test_successes_that_are_none_are_caught() -> None:
    class Boasting(InHalf):
        def run(self, images: Tensor, labels: Tensor) -> Attacked:
            done = self.inner.run(images, labels)
            return replace(done, success=torch.ones_like(done.success))

    assert not passes("verdict", suspect("pgd:eps=0.001", Boasting))


def test_numbers_that_depend_on_neighbours_are_caught() -> None:
    class Drawing(InHalf):
        def run(self, images: Tensor, labels: Tensor) -> Attacked:
            done = self.inner.run(images, labels)
            noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
            moved = project(done.images + 1e-4 * noise, images, EPS, "linf")
            with torch.no_grad():
                logits = self.calls.logits(moved)
            success = (logits.argmax(1) != labels) & (done.clean_logits.argmax(1) == labels)
            return replace(done, images=moved, logits=logits, success=success)

    assert not passes("deterministic", suspect(f"pgd:eps={EPS}", Drawing))


def masked(network: nn.Module) -> Classifier:
    return Classifier(network, [0.0, 0.0], [1.0, 1.0], NET.class_names, NET.shape).eval().requires_grad_(False)


class Saturated(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return (logits * 1e4).softmax(1)


class Rounded(nn.Module):
    """As JPEG does: between two levels nothing changes, so that no gradient is left."""

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels * 32).round() / 32


@pytest.mark.parametrize(
    "network", [nn.Sequential(NET.network, Saturated()), nn.Sequential(Rounded(), NET.network)], ids=["soft", "jpeg"]
)
def test_a_model_that_hides_its_gradients_is_caught(network: nn.Module) -> None:
    net = masked(network)
    assert not passes("gradients", suspect(f"pgd:eps={EPS}"), net)
    assert (trial_of(suspect("pgd"), net).gradients() == 0).all()


def test_a_loss_that_saturates_is_caught() -> None:
    """The cross-entropy in float32 has no gradient left where a model is sure; ours has."""
    sure = masked(nn.Sequential(NET.network, Louder(300.0)))
    text = f"{{}}:eps={2 * EPS}"
    assert not passes("scale", suspect(text.format("bim")))
    for check in ("scale", "noise", "steps"):
        assert passes(check, suspect(text.format("pgd")), sure)
    assert not passes("noise", suspect(text.format("bim")), sure)


def test_what_cannot_be_asked_is_left_out() -> None:
    asked = {text: set(checks_of(suspect(text))) for text in ("uniform-noise", "fgsm", "cw", "square", "pgd:eps=0")}
    assert asked["uniform-noise"] == {"bounds", "verdict", "deterministic"}
    assert asked["fgsm"] == EVERY - {"unbounded"}  # a single step promises nothing far away
    assert asked["cw"] == {"bounds", "verdict", "deterministic", "unbounded", "gradients", "scale"}
    assert asked["square"] == EVERY - {"gradients", "black-box"}
    assert asked["pgd:eps=0"] == {"bounds", "verdict", "deterministic", "gradients", "scale"}
    towards = set(checks_of(suspect("pgd:targeted=true")))
    assert towards == EVERY - {"unbounded", "black-box"}


def test_the_other_ways_of_an_attack_keep_what_was_asked() -> None:
    auto = suspect("pgd:eps=0.1,steps=10,norm=l2")
    assert auto.after(1) == {"steps": 1, "step": pytest.approx(0.025)}  # as long as each of the ten
    assert auto.at(0.2) == {"eps": 0.2}
    fixed = suspect("pgd:eps=0.1,step=0.01")
    assert fixed.after(1) == {"steps": 1} and fixed.at(1.0) == {"eps": 1.0, "step": pytest.approx(0.1)}
    library = suspect("pifgsm")
    assert library.eps == 16 / 255 and library.steps == 10 and library.at(1.0) == {"max_epsilon": 1.0}
    several = suspect("pgd:eps=0.01,0.02")
    assert several.eps == 0.02
    assert isinstance(suspect("autoattack").attack, Series)


def test_costly_attacks_are_tried_on_fewer_rows() -> None:
    attack = suspect("pgd")
    assert [rows_of(attack, forwards, 1000) for forwards in (22, 64, 128, 10_000)] == [64, 64, 32, 8]
    assert rows_of(attack, 22, 5) == 5


def test_no_row_that_is_right_shows_nothing() -> None:
    labels = (NET(IMAGES).argmax(1) + 1) % 4
    trial = Trial(suspect("pgd"), Calls(NET, batch_size=8), IMAGES, labels, Stream(0, "attack", tuple(range(ROWS))))
    assert all(one == Verdict(True, 0.0) for one in sanity(trial))


def test_verdicts_lie_in_the_first_row_that_is_ok() -> None:
    verdicts, status = [Verdict(True, 0.25), Verdict(False, 3.0)], torch.tensor([4, 1, 1]).numpy()
    curve = to_curve(verdicts, status, 1, 2)
    assert curve[1].tolist() == [0.25, 1.0, 3.0, 0.0]
    assert torch.as_tensor(curve).isnan().all(1).tolist() == [True, False, True]
    assert torch.as_tensor(to_curve(None, status, 1, 2)).isnan().all()
