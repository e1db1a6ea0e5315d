"""One attack over a block: samples walk on their own, leave the batch when broken, and the next ones take their place.

The batch is a row of lanes, always exactly `width` of them, whatever step each is at. What happens in a lane depends on
its try alone: random numbers belong to the try, and no sum runs over lanes. Lanes that would stand idle begin later
attempts at samples that are still walking, or put their next questions ahead of time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaicli.attack.lanes import gather, merge, put, row_of
from xaicli.attack.network import Network
from xaicli.attack.norms import size
from xaicli.attack.plan import Draw, LooksAhead, Samples, Search, Seen, State, Turns
from xaicli.attack.tries import Best, Tries, Try
from xaicli.run.random import Stream


@dataclass(frozen=True)
class Block:
    """The samples of a block as every attack on them finds them."""

    clean: Tensor  # [n, C, H, W]
    labels: Tensor  # int64 [n]; 65535 unknown
    logits: Tensor  # [n, K], on the clean images
    stream: Stream
    warm: Tensor | None = None  # [n, C, H, W], where a weaker attack has ended

    @property
    def known(self) -> Tensor:
        """The labels, 0 where they are unknown (such rows are not attacked)."""
        return torch.where(self.labels < self.logits.shape[1], self.labels, 0)

    @property
    def ranked(self) -> Tensor:
        """The other classes, the likeliest first, [n, K - 1]."""
        others = self.logits.scatter(1, self.known.unsqueeze(1), float("-inf"))
        return others.sort(dim=1, descending=True, stable=True).indices[:, :-1]

    def aim(self, towards: str) -> Tensor:
        """The class that a targeted attack is to reach, [n], by its rule."""
        if towards == "runner-up":
            return self.ranked[:, 0]
        if towards == "least-likely":
            others = self.logits.scatter(1, self.known.unsqueeze(1), float("inf"))
            return others.argmin(1)
        share = torch.as_tensor(self.stream.fork("target").uniform(())).to(self.labels.device)
        return (self.known + 1 + (share * (self.logits.shape[1] - 1)).long()) % self.logits.shape[1]


@dataclass(frozen=True)
class Left:
    """A try that has left the batch with a point that the classifier itself has to judge."""

    point: Tensor
    steps: int  # made up to that point
    best: Best
    state: State | None  # to go on from when the point breaks nothing; None when the walk is over


class Walk:
    """Runs one attack over the rows of a block that it is given."""

    def __init__(self, search: Search, network: Network, block: Block, rows: Sequence[int]) -> None:
        self.search, self.network, self.block = search, network, block
        self.aims = _aims(search, block)  # [n, attempts]
        start = block.clean.new_full((len(block.clean),), float("-inf"))
        best = Best(block.clean.clone(), block.logits.clone(), start)
        self.tries = Tries(rows, search.tries(block.logits.shape[1]), best)
        self.rows = list(rows)
        self.lanes: list[Try | None] = [None] * network.width
        self.holds: list[Try] = []  # who is in each lane, or was last
        self.steps = [0] * network.width
        self.waiting: dict[Try, Left] = {}
        self.paused: dict[Try, Left] = {}
        self.arranged: list[Try | None] = []  # the lanes as they were when idle ones were last shared out
        self.samples: Samples
        self.state: State
        self.best: Best

    def run(self) -> Tries:
        """Attack until every row is settled."""
        while True:
            self._fill(ahead=False)
            if len(self.waiting) >= self.network.width or (self.waiting and not self._live):
                self._judge_waiting()
            elif self._live:
                self._fill(ahead=True)
                if isinstance(self.search, LooksAhead):
                    self._share_idle_lanes(self.search)
                self._advance()
            else:
                break
        self._ask_the_classifier_itself()
        return self.tries

    @property
    def _live(self) -> int:
        return sum(lane is not None for lane in self.lanes)

    def _fill(self, *, ahead: bool) -> None:
        """Let tries into the lanes that are free."""
        free = [lane for lane, held in enumerate(self.lanes) if held is None]
        coming = self.tries.next(len(free), ahead=ahead)
        if not coming:
            return
        lanes, self.arranged = free[: len(coming)], []
        first = not self.holds
        if first:
            self.holds = coming + coming[-1:] * (self.network.width - len(coming))
        for lane, which in zip(lanes, coming, strict=True):
            self.lanes[lane] = self.holds[lane] = which
            self.steps[lane] = 0
        fresh = self._samples(coming, [0] * len(coming), "start")
        state = self.search.begin(fresh)  # of as many as in any other call: where sums are split depends on it
        best = Best(fresh.clean, fresh.logits, fresh.clean.new_full((self.network.width,), float("-inf")))
        self.samples = self._samples(self.holds, self.steps, "move")
        if first:
            self.state, self.best = state, best
        else:
            self.state, self.best = put(self.state, lanes, state), put(self.best, lanes, best)
        for lane, which in zip(lanes, coming, strict=True):
            held = self.paused.pop(which, None)
            if held is not None and held.state is not None:
                self.state, self.best = put(self.state, [lane], held.state), put(self.best, [lane], held.best)
                self.steps[lane] = held.steps
        if not self.search.steps:
            for lane in lanes:
                self._arrive(lane)

    def _share_idle_lanes(self, search: LooksAhead) -> None:
        """Let the lanes without a sample put the next questions about those of the others."""
        if self.lanes == self.arranged:
            return
        self.arranged = list(self.lanes)
        leaders = [lane for lane, held in enumerate(self.lanes) if held is not None]
        idle = [lane for lane, held in enumerate(self.lanes) if held is None]
        leader, turn = list(range(len(self.lanes))), [0] * len(self.lanes)
        for number, lane in enumerate(idle):
            leader[lane], turn[lane] = leaders[number % len(leaders)], number // len(leaders) + 1
        self.holds, self.steps = [self.holds[lane] for lane in leader], [self.steps[lane] for lane in leader]
        index = self._index(leader)
        self.state, self.best = gather(self.state, index), gather(self.best, index)
        turns = Turns(index, self._index(turn), self._index([leader.count(lane) for lane in leader]))
        self.samples = replace(self._samples(self.holds, self.steps, "move"), turns=turns if idle else None)
        self.state = search.ahead(self.samples, self.state)

    def _advance(self) -> None:
        """One step of all lanes."""
        self.network.live = self._live if self.samples.turns is None else self.network.width
        self.state, seen = self.search.step(self.samples, self.state, self.network)
        broken, lost = self._judge(seen)
        over = (lost if self.search.minimise else broken | lost).tolist()
        steps = [1] * len(over) if seen.steps is None else seen.steps.tolist()
        for lane, held in enumerate(self.lanes):
            if held is None:
                continue
            if over[lane]:
                self.steps[lane] += steps[lane] - 1  # those in vain before it
                self._break(lane, held, seen, bool(broken[lane]))
            else:
                self.steps[lane] += steps[lane]
                if self.steps[lane] == self.search.steps:
                    self._arrive(lane)
        for lane, held in enumerate(self.lanes):
            if held is not None and self.tries.is_over(held):
                self.lanes[lane] = None

    def _judge(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Remember the best points of the lanes: the first broken one, else the one of highest loss.

        A sample whose logits are not finite is lost: it keeps those logits, by which its row fails. Returns which are
        broken and which are lost, bool [n] each.
        """
        broken, lost, loss = self._verdict(seen.point, seen.logits, seen.loss, self.samples)
        if seen.inside is not None:
            broken &= seen.inside
            loss = torch.where(seen.inside, loss, float("-inf"))
        better = lost | (loss > self.best.loss)
        if not self.search.minimise:
            better |= broken
        found = Best(seen.point, seen.logits, loss)
        if better.all():
            self.best = found
        elif better.any():
            self.best = merge(better, found, self.best)
        return broken, lost

    def _verdict(self, points: Tensor, logits: Tensor, loss: Tensor, samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
        """Which samples are broken, which lost, and by what their points are compared."""
        finite = logits.isfinite().all(1)
        predicted = logits.argmax(1)
        reach = self.search.towards not in (None, "each")
        broken = (predicted == samples.aim if reach else predicted != samples.labels) & finite
        if self.search.minimise:
            loss = torch.where(broken, -size(points - samples.clean, self.search.norm), float("-inf"))
        return broken, ~finite, loss

    def _break(self, lane: int, held: Try, seen: Seen, broken: bool) -> None:
        """The sample in a lane is broken or lost, or the faster form of the classifier believes so."""
        self.lanes[lane] = None
        best = row_of(self.best, lane)
        steps = self.steps[lane] + (not self.search.last)
        if self.network.is_itself:
            self.tries.end(held, steps, best, broken=broken, stop=True)
        else:
            self.waiting[held] = Left(seen.point[lane].clone(), steps, best, row_of(self.state, lane))

    def _arrive(self, lane: int) -> None:
        """The walk in a lane has ended; its last point may still have to be judged."""
        held, self.lanes[lane] = self.lanes[lane], None
        if held is not None:
            self._walked(held, self.steps[lane], row_of(self.best, lane), row_of(self.state, lane))

    def _walked(self, held: Try, steps: int, best: Best, state: State) -> None:
        if self.search.last:
            self.waiting[held] = Left(state.point, steps, best, None)
        else:
            self.tries.end(held, steps, best, broken=self._is_broken(best), stop=False)

    def _is_broken(self, best: Best) -> bool:
        """Whether a minimal perturbation was found on the way; other attacks stop when they break."""
        return self.search.minimise and bool(best.loss > float("-inf"))

    def _judge_waiting(self) -> None:
        """Ask the classifier itself about the points that wait for it, a batch of them."""
        self.waiting = {held: left for held, left in self.waiting.items() if not self.tries.is_over(held)}
        which = list(self.waiting)[: self.network.width]
        if not which:
            return
        left = [self.waiting.pop(held) for held in which]
        points = torch.stack([one.point for one in left])
        logits = self.network.truth(points)
        samples = self._samples(which, [0] * len(which), "move", padded=False)
        loss, _ = self.search.loss(logits, samples.labels, samples.aim)
        broken, lost, loss = self._verdict(points, logits, loss, samples)
        for n, (held, one) in enumerate(zip(which, left, strict=True)):
            hit, gone = bool(broken[n]), bool(lost[n])
            stop = gone or (hit and not self.search.minimise)
            better = stop or one.state is not None or bool(loss[n] > one.best.loss)
            best = Best(points[n], logits[n], loss[n]) if better else one.best
            if stop or one.state is None:
                self.tries.end(held, one.steps, best, broken=hit or self._is_broken(best), stop=stop)
            else:
                self._go_on(held, replace(one, best=best, steps=one.steps + self.search.last))

    def _go_on(self, held: Try, left: Left) -> None:
        """What the faster form took for a break is none."""
        if left.steps < self.search.steps:
            self.paused[held] = left
            self.tries.again(held)
        elif left.state is not None:
            self._walked(held, left.steps, left.best, left.state)

    def _ask_the_classifier_itself(self) -> None:
        """Its logits on the best points of rows that nothing has broken, of which only a faster form was asked."""
        tries = self.tries
        left = [row for row in self.rows if not tries.broken[row] and not tries.is_lost(row)]
        if self.network.is_itself or not left:
            return
        index = self._index(left)
        logits = self.network.truth(tries.best.point[index])
        tries.best.logits[index] = logits
        if self.search.towards in (None, "each"):
            tries.broken[index] = (logits.argmax(1) != self.block.labels[index]) & logits.isfinite().all(1)

    # what attacks see

    def _samples(self, which: list[Try], steps: list[int], what: str, *, padded: bool = True) -> Samples:
        """The samples of some tries, the last repeated up to the width of the batch.

        Random numbers belong to each try, its present step and `what` they are for; `steps` may change meanwhile.
        """
        count = self.network.width if padded else len(which)
        filled = which + which[-1:] * (count - len(which))
        rows, attempts = self._index([one.row for one in filled]), self._index([one.attempt for one in filled])
        warm = None
        if self.block.warm is not None:
            warm = torch.where((attempts == 0).view(-1, 1, 1, 1), self.block.warm[rows], torch.nan)
        aim = self.aims[rows, attempts.clamp(max=self.aims.shape[1] - 1)]
        draw, numbers = self._draws(which, steps, what, count)
        return Samples(
            self.block.clean[rows], self.block.logits[rows], self.block.known[rows], aim, draw, numbers, warm
        )

    def _draws(self, which: list[Try], steps: list[int], what: str, count: int) -> tuple[Draw, Callable[[int], Tensor]]:
        """Numbers that are drawn only if the attack asks for them."""
        shape = tuple(self.block.clean.shape[1:])

        def draw(kind: str, shape: tuple[int, ...]) -> Tensor:
            found = []
            for (row, attempt), step in zip(which, steps, strict=True):
                stream = self.block.stream.row(row, f"{what}:{attempt + 1}:{step}")
                found.append(torch.as_tensor(getattr(stream, kind)(shape)))
            drawn = torch.cat(found + found[-1:] * (count - len(found)))
            return drawn.to(self.block.clean)

        each = Draw(lambda: draw("normal", shape), lambda: draw("uniform", shape), lambda: draw("uniform", ()))
        return each, lambda numbers: draw("uniform", (numbers,))

    def _index(self, numbers: Sequence[int]) -> Tensor:
        return torch.as_tensor(numbers, device=self.block.clean.device)


def _aims(search: Search, block: Block) -> Tensor:
    """The class that each attempt is about, [n, attempts]: the true one, one to be reached, or every other in turn."""
    if search.towards == "each":
        return block.ranked
    return (block.known if search.towards is None else block.aim(search.towards)).unsqueeze(1)
