"""The walk itself: what a faster form of the network claims is confirmed, lanes are full, tries are in order."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.nets import classify, small_net, some_images
from xaicli.attack.engine import Attacked, Engine
from xaicli.attack.plan import Ask, Samples, Seen, State
from xaicli.attack.tries import Best, Tries, Try
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.random import Stream
from xaicli.specs import parse_spec

NET = small_net(seed=1)
IMAGES = some_images(24, NET)
LABELS = NET(IMAGES).argmax(1)


class Shifted(Calls):
    """Calls whose faster form of the network adds something to the first logit."""

    def __init__(self, classifier: Classifier, shift: float) -> None:
        super().__init__(classifier, batch_size=4)
        own, bias = classifier.network, torch.tensor([shift, 0.0, 0.0], dtype=torch.float64)

        class Off(torch.nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return own(x) + bias

        self._folded = classify(Off(), classifier.shape, 3)


def run(text: str, calls: Calls, *, bf16: bool = False) -> Attacked:
    spec = parse_spec("attack", text)
    attack = spec.method.load()(**spec.options)
    stream = Stream(0, "attack", tuple(range(24)))
    return Engine(attack, calls, stream, bf16=bf16).run(IMAGES.to(calls.dtype), LABELS)


ATTACKS = ["pgd:eps=0.02", "apgd:eps=0.02,steps=12", "fab-t:eps=0.02,steps=9", "square:eps=0.05,queries=40"]


@pytest.mark.parametrize("text", ATTACKS)
@pytest.mark.parametrize("shift", [-0.6, 0.6])
def test_no_verdict_of_a_faster_form_counts_unconfirmed(text: str, shift: float) -> None:
    honest, deceived = run(text, Calls(NET, batch_size=4)), run(text, Shifted(NET, shift))
    for done in (honest, deceived):
        torch.testing.assert_close(done.logits, NET(done.images), rtol=0, atol=1e-12)
        assert torch.equal(done.success, NET(done.images).argmax(1) != LABELS)
    assert not torch.equal(honest.images, deceived.images)
    # a sample that seems to be broken is not given up: it walks on, up to its last step
    assert 0 < deceived.success.sum() < 24 and deceived.success.sum() >= 0.4 * honest.success.sum()


@pytest.mark.parametrize("text", ["pgd:eps=0.02", "apgd-t:eps=0.02,steps=12", "square:eps=0.05,queries=40"])
def test_a_search_in_bfloat16_is_judged_in_full_precision(text: str) -> None:
    net = small_net(seed=1, dtype=torch.float32)
    done, plain = (run(text, Calls(net, batch_size=4), bf16=bf16) for bf16 in (True, False))
    torch.testing.assert_close(done.logits, net(done.images), rtol=0, atol=1e-5)
    assert torch.equal(done.success, net(done.images).argmax(1) != LABELS)
    assert not torch.equal(done.images, plain.images)  # another search
    assert (done.success == plain.success).double().mean() > 0.8


def test_folding_changes_nothing_but_the_last_digits() -> None:
    calls = Calls(NET, batch_size=4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in calls.folded().modules())
    torch.testing.assert_close(calls.folded()(IMAGES), NET(IMAGES), rtol=0, atol=1e-12)
    itself = Calls(NET, batch_size=4)
    itself._folded = NET
    folded, plain = run("pgd:eps=0.02", calls), run("pgd:eps=0.02", itself)
    assert torch.equal(folded.success, plain.success) and torch.equal(folded.steps, plain.steps)
    torch.testing.assert_close(folded.images, plain.images, rtol=0, atol=1e-9)
    bare = classify(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(72, 3)), (2, 6, 6), 3)
    assert Calls(bare).folded() is bare  # no BatchNorm


@dataclass(frozen=True)
class Counted(State):
    """A state with a second tensor, of one number a sample."""

    sum: Tensor


@dataclass(frozen=True)
class Drift:
    """Adds to every pixel, by another amount in each attempt, and remembers what it has added."""

    steps: int = 6
    norm: str = "linf"
    eps: float = 1.0
    smaller: tuple = ()
    towards: str | None = None
    last: bool = True
    minimise: bool = False
    cost: int = 1

    def loss(self, logits: Tensor, labels: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
        return logits.gather(1, labels.unsqueeze(1)).squeeze(1).neg(), logits * 0

    def tries(self, classes: int) -> int:
        return 3

    def begin(self, samples: Samples) -> State:
        share = samples.numbers(1)[:, 0]
        return Counted(samples.clean + 0.01 * share.view(-1, 1, 1, 1), 0.01 * share)

    def step(self, samples: Samples, state: Counted, ask: Ask) -> tuple[State, Seen]:
        torch.testing.assert_close((state.point - samples.clean).mean((1, 2, 3)), state.sum)
        logits = ask.logits(state.point)
        share = 0.01 * samples.draw.share()
        moved = Counted(state.point + share.view(-1, 1, 1, 1), state.sum + share)
        return moved, Seen(state.point, logits, self.loss(logits, samples.labels, samples.aim)[0])


@pytest.mark.parametrize("width", [1, 3, 5, 32])
def test_a_sample_and_what_is_remembered_of_it_stay_together(width: int) -> None:
    # class 0 while the mean is below a half: every sample breaks at a place that its own draws decide
    def above(x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1)

    class Level(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return above(x)

    net = classify(Level(), (1, 2, 2), 2)
    images = torch.linspace(0.4, 0.499, 20, dtype=torch.float64).view(20, 1, 1, 1).expand(20, 1, 2, 2).contiguous()
    labels, stream = torch.zeros(20, dtype=torch.int64), Stream(0, "drift", tuple(range(20)))
    sizes: list[int] = []
    net.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    done = Engine(Drift(), Calls(net, batch_size=width), stream).run(images, labels)
    assert set(sizes) == {width}
    for row in range(20):
        expected, steps = by_hand(images[row].mean().item(), stream, row)
        assert done.images[row].mean().item() == pytest.approx(expected, abs=1e-6), row
        assert done.steps[row] == steps and bool(done.success[row]) == (expected > 0.5)
    assert 0 < done.success.sum() < 20


def by_hand(mean: float, stream: Stream, row: int) -> tuple[float, int]:
    """The first mean above a half, else the largest, and the steps up to it."""
    largest, steps = mean, 0
    for attempt in (1, 2, 3):
        at = mean + 0.01 * stream.row(row, f"start:{attempt}:0").uniform((1,)).item()
        for step in range(7):
            if at > 0.5:
                return at, steps
            largest = max(largest, at)
            if step < 6:
                at += 0.01 * stream.row(row, f"move:{attempt}:{step}").uniform(()).item()
                steps += 1
    return largest, steps


def test_the_first_attempt_that_breaks_counts_whenever_it_ends() -> None:
    def tries() -> Tries:
        best = Best(torch.zeros(2, 1), torch.zeros(2, 2), torch.full((2,), -torch.inf))
        return Tries([0, 1], 3, best)

    def found(value: float) -> Best:
        return Best(torch.tensor([value]), torch.zeros(2), torch.tensor(value))

    one = tries()
    assert one.next(9, ahead=False) == [Try(0, 0), Try(1, 0)]
    assert one.next(9, ahead=False) == []
    assert one.next(3, ahead=True) == [Try(0, 1), Try(1, 1), Try(0, 2)]
    one.end(Try(0, 2), 5, found(2.0), broken=True, stop=True)
    one.end(Try(0, 1), 7, found(1.0), broken=True, stop=True)
    one.end(Try(0, 0), 9, found(3.0), broken=False, stop=False)
    assert one.best.point[0].item() == 1.0 and one.broken.tolist() == [True, False] and one.steps[0] == 16
    one.end(Try(1, 0), 9, found(3.0), broken=False, stop=False)
    assert one.next(9, ahead=False) == [] and one.next(9, ahead=True) == [Try(1, 2)]
    one.end(Try(1, 2), 9, found(3.0), broken=False, stop=False)  # a tie goes to the earlier attempt
    one.end(Try(1, 1), 4, found(2.0), broken=False, stop=False)
    assert one.best.point[1].item() == 3.0 and one.steps == [16, 22] and one.next(9, ahead=True) == []


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_idle_lanes_put_the_next_questions_and_change_nothing(norm: str) -> None:
    eps = {"linf": 0.03, "l2": 0.2, "l1": 1.0}[norm]
    spec = parse_spec("attack", f"square:norm={norm},eps={eps},queries=60")
    attack, stream = spec.method.load()(**spec.options), Stream(0, "attack", tuple(range(24)))

    def asked(rows: int, width: int) -> tuple[Attacked, int]:
        sizes: list[int] = []
        calls = Calls(NET, batch_size=width)
        calls._folded = NET
        handle = NET.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
        done = Engine(attack, calls, stream).run(IMAGES[:rows], LABELS[:rows])
        handle.remove()
        assert set(sizes) == {width}
        return done, len(sizes)

    full, _ = asked(24, 3)
    few, calls = asked(6, 24)
    for name in ("success", "steps"):
        assert torch.equal(getattr(full, name)[:6], getattr(few, name)), name
    torch.testing.assert_close(full.images[:6], few.images, rtol=0, atol=1e-9)  # of batches of another size
    assert not few.success.all() and few.steps.max() == 60
    assert calls < 40  # instead of 60 proposals, the start, the clean images and the outcome
