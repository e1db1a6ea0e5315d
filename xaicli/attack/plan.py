"""What an attack is to the engine: how a sample starts, what one step asks the network, and how often it may try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from xaicli.attack.loss import Loss, away, towards_class

FOLD_FROM = 8
"""Questions about a sample from which on folding BatchNorms saves more than the forward that confirms the outcome."""

Start = Callable[["Draw", Tensor], Tensor]
Move = Callable[[Tensor, Tensor, Tensor, "Draw"], Tensor]


@dataclass(frozen=True)
class Draw:
    """Random numbers for some samples, each with its own generator: shaped like the images, or one share a sample."""

    normal: Callable[[], Tensor]
    uniform: Callable[[], Tensor]
    share: Callable[[], Tensor]  # uniform, [n]


@dataclass(frozen=True)
class Turns:
    """How lanes that would stand idle are shared: each puts a later question about the sample of another lane."""

    leader: Tensor  # int64 [n], the lane that holds the sample; its own number if it is that lane
    turn: Tensor  # int64 [n], which question it is: 0 in the leader, then 1, 2, ...
    count: Tensor  # int64 [n], questions about the sample in this batch


@dataclass(frozen=True)
class Samples:
    """The samples in the batch as an attack sees them; row i of everything belongs to the same sample."""

    clean: Tensor  # [n, C, H, W] in [0, 1]
    logits: Tensor  # [n, K], on the clean images
    labels: Tensor  # int64 [n], the true class
    aim: Tensor  # int64 [n], the class that the try is about: the true one, or one to be reached
    draw: Draw
    numbers: Callable[[int], Tensor]  # count -> uniform in [0, 1), [n, count]
    warm: Tensor | None = None  # [n, C, H, W], where a weaker attack ended; NaN for samples without
    turns: Turns | None = None  # when lanes are shared

    def begin_at(self, start: Tensor) -> Tensor:
        """Where a weaker attack ended, for samples that have such a point; else the start."""
        return start if self.warm is None else torch.where(self.warm.isnan(), start, self.warm)


@dataclass(frozen=True)
class State:
    """What an attack remembers of the samples in the batch: tensors whose first axis is the sample.

    Attacks that remember more than the next point to be asked about add fields.
    """

    point: Tensor  # [n, C, H, W]


@dataclass(frozen=True)
class Asked:
    """The network's answer at some points, with the gradient of a loss."""

    logits: Tensor  # [n, K]
    loss: Tensor  # [n]
    gradient: Tensor  # [n, C, H, W]


class Ask(Protocol):
    """How an attack asks the network; each call is one batch of exactly as many rows as the engine was told."""

    def gradient(self, points: Tensor, loss: Loss, samples: Samples) -> Asked:
        """Logits, loss and the gradient of the loss, which is one value a sample."""

    def logits(self, points: Tensor) -> Tensor:
        """Logits alone: a forward."""


@dataclass(frozen=True)
class Seen:
    """Points that the network was asked about in a step: candidates for the result."""

    point: Tensor  # [n, C, H, W]
    logits: Tensor  # [n, K]
    loss: Tensor  # [n]; of the points that break nothing the one of the highest loss is kept
    inside: Tensor | None = None  # bool [n]: which points the threat model allows; None for all
    steps: Tensor | None = None  # int64 [n], how many steps this was; None for one


class Search(Protocol):
    """An attack as the engine runs it; a frozen dataclass."""

    @property
    def norm(self) -> str:
        """The norm in which perturbations are measured."""

    @property
    def eps(self) -> float | None:
        """The radius, None for attacks that have none."""

    @property
    def smaller(self) -> tuple[Search, ...]:
        """The same at smaller radii, ascending, which go before it: together they are a security curve."""

    @property
    def steps(self) -> int:
        """Steps of one try."""

    @property
    def towards(self) -> str | None:
        """The rule that names the class to be reached; `each` for every other class in turn; None to get away."""

    @property
    def last(self) -> bool:
        """Whether a step leaves behind a point that nobody has been asked about, so that the last one needs a call."""

    @property
    def minimise(self) -> bool:
        """Whether the smallest breaking perturbation is looked for, so that no sample leaves when it is broken."""

    @property
    def cost(self) -> int:
        """Questions of one step."""

    @property
    def loss(self) -> Loss:
        """The loss by which last points are compared with the others."""

    def tries(self, classes: int) -> int:
        """How often a sample may start anew."""

    def begin(self, samples: Samples) -> State:
        """The state of samples that start."""

    def step(self, samples: Samples, state: Any, ask: Ask) -> tuple[State, Seen]:
        """One step of all samples in the batch."""


@runtime_checkable
class LooksAhead(Protocol):
    """An attack that can put several of a sample's next questions at once, as if each before them were in vain.

    What it finds, and the number of steps, is as if they were put one after the other.
    """

    def ahead(self, samples: Samples, state: Any) -> State:
        """The state, equal in all lanes of a sample, with every lane's own next question."""


@dataclass(frozen=True, kw_only=True)
class Usual:
    """What a search is unless it says otherwise: one try, away from the true class, judged where its steps lead."""

    towards: str | None = None
    last: bool = True
    minimise: bool = False
    cost: int = 1
    smaller: tuple[Search, ...] = ()

    def tries(self, classes: int) -> int:
        """One."""
        return 1


@dataclass(frozen=True)
class Attack(Usual):
    """A walk along the gradient: the attack that is its start and its move.

    start(draw, clean) gives the first point, move(point, clean, gradient, draw) the next one; gradient is that of the
    loss to be raised, the mean of `cost` answers. `towards` names the class rule of a targeted attack, None otherwise.
    """

    norm: str
    eps: float | None
    steps: int
    restarts: int
    start: Start
    move: Move

    @property
    def loss(self) -> Loss:
        """The log odds against the true class, or those for the one to be reached."""
        return away if self.towards is None else towards_class

    def tries(self, classes: int) -> int:
        """Every restart is a try."""
        return self.restarts

    def begin(self, samples: Samples) -> State:
        """At the first point."""
        return State(samples.begin_at(self.start(samples.draw, samples.clean)))

    def step(self, samples: Samples, state: State, ask: Ask) -> tuple[State, Seen]:
        """Ask for the gradient and go on."""
        asked = [ask.gradient(state.point, self.loss, samples) for _ in range(self.cost)]
        gradient, loss = _mean([one.gradient for one in asked]), _mean([one.loss for one in asked])
        moved = self.move(state.point, samples.clean, gradient, samples.draw)
        return State(moved), Seen(state.point, asked[-1].logits, loss)


def _mean(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(tensors).mean(0)


def choose(which: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Images [n, C, H, W] of one kind for the samples named by bool [n], of the other kind for the rest."""
    return torch.where(which.view(-1, 1, 1, 1), one, other)


@dataclass(frozen=True)
class Stage:
    """One of several attacks in a row."""

    search: Search
    number: int  # 1, 2, ... in its series
    name: str  # of its random numbers; those of the command when it has none
    warm: bool = False  # begin where the stages before ended
    shows: bool = True  # whether its point of highest loss stands for samples that nothing breaks


@dataclass(frozen=True)
class Series:
    """Attacks one after the other, each on the samples that those before it have left unbroken; the first ones show.

    With several radii all attacks are made at each of them, from the smallest up.
    """

    norm: str
    radii: tuple[float, ...]  # ascending
    names: tuple[str, ...]
    attacks: tuple[tuple[Search, ...], ...]  # for each radius those of the names
    protocol: str | None = None  # the published evaluation that this is, word for word
    towards: str | None = None

    @property
    def eps(self) -> float:
        """The largest radius."""
        return self.radii[-1]


def stages_of(attack: Search | Series) -> tuple[Stage, ...]:
    """The attacks of a series or of a security curve in order, or the one attack.

    What is broken stays broken; at a larger radius the others begin where those before have left them.
    """
    if not isinstance(attack, Series):
        each = (*attack.smaller, attack)
        return tuple(Stage(search, 1, "", warm=number > 0) for number, search in enumerate(each))
    return tuple(
        Stage(search, number, name, warm=radius > 0, shows=number == 1)
        for radius, attacks in enumerate(attack.attacks)
        for number, (name, search) in enumerate(zip(attack.names, attacks, strict=True), start=1)
    )


def may_fold(search: Search, classes: int) -> bool:
    """Whether the attack asks so often that it pays to search in a faster form of the network."""
    return not search.minimise and search.steps * search.cost * search.tries(classes) >= FOLD_FROM


def forwards_of(attack: Search | Series, classes: int) -> int:
    """Forwards for a row that nothing breaks, those of the clean image and of the outcome included."""

    def one(search: Search) -> int:
        return search.tries(classes) * (search.steps * search.cost + search.last) + may_fold(search, classes)

    return 1 + sum(one(stage.search) for stage in stages_of(attack))
