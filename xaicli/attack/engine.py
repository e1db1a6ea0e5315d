"""The attack engine: every sample walks on its own, leaves the batch when broken, and the next takes its place.

A model call always holds exactly `batch_size` samples, whatever step each of them is at. Random numbers belong to the
sample, so a result depends neither on neighbours nor on the order in which samples were let in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.attack.loss import log_odds
from xaicli.attack.norms import size
from xaicli.attack.plan import Attack, Draw
from xaicli.data.dataset import UNKNOWN
from xaicli.run.calls import Answer, Calls, evaluating
from xaicli.run.random import Stream


@dataclass(frozen=True)
class Attacked:
    """The outcome for n samples: the first broken iterate, else the one of highest loss, else the clean image."""

    images: Tensor  # [n, C, H, W] in [0, 1]
    logits: Tensor  # [n, K] on `images`
    clean_logits: Tensor  # [n, K]
    success: Tensor  # bool [n]: right on the clean image and broken
    distance: Tensor  # [n], in the attack's norm
    steps: Tensor  # int64 [n], gradient steps taken until broken, or in all
    target: Tensor  # int64 [n], the class a targeted attack aims at, else 65535


class Engine:
    """Runs one attack over the samples of one block."""

    def __init__(self, attack: Attack, calls: Calls, stream: Stream) -> None:
        self.attack, self.calls, self.stream = attack, calls, stream

    def run(self, images: Tensor, labels: Tensor) -> Attacked:
        """Attack images [n, C, H, W] with true labels int64 [n]; samples that are wrong already are left alone."""
        with evaluating(self.calls.classifier):
            walk = _Walk(self, images, labels)
            walk.run()
        return Attacked(
            images=walk.best,
            logits=walk.best_logits,
            clean_logits=walk.clean_logits,
            success=walk.broken,
            distance=size(walk.best - images, self.attack.norm),
            steps=torch.as_tensor(walk.steps, device=labels.device),
            target=walk.aim if self.attack.towards else torch.full_like(labels, UNKNOWN),
        )


class _Walk:
    """The state of all samples of a block; `self.point[i]` and so on belong to sample i."""

    def __init__(self, engine: Engine, images: Tensor, labels: Tensor) -> None:
        self.attack, self.calls, self.stream = engine.attack, engine.calls, engine.stream
        self.clean, self.labels = images, labels
        self.clean_logits = self.calls.logits(images)
        self.aim = self._aims()
        count = len(images)
        self.point = images.clone()
        self.best = images.clone()
        self.best_logits = self.clean_logits.clone()
        self.best_loss = torch.full((count,), float("-inf"), dtype=images.dtype, device=images.device)
        self.broken = torch.zeros(count, dtype=torch.bool, device=images.device)
        self.held: tuple[list[int], Answer] = ([], ())  # the batch as the last step left it, not yet in `point`
        self.walked = [0] * count  # steps in the present try
        self.steps = [0] * count
        self.tries = [0] * count
        right = ((self.clean_logits.argmax(1) == labels) & self.clean_logits.isfinite().all(1)).tolist()
        self.waiting = deque(row for row in range(count) if right[row])

    def run(self) -> None:
        """Keep the batch full of samples that still have steps to walk; judge last points in batches of their own."""
        batch = self.calls.batch_size
        walking: list[int] = []
        arrived: list[int] = []  # last points, which need a forward but no gradient
        while self.waiting or walking or arrived:
            fresh = [self.waiting.popleft() for _ in range(min(batch - len(walking), len(self.waiting)))]
            if fresh:
                self._begin(fresh)
                (walking if self.attack.steps else arrived).extend(fresh)
            if len(arrived) >= batch or (arrived and not walking):
                arrived, now = arrived[batch:], arrived[:batch]
                self._judge_last(now)
            if walking:
                walking = self._walk(walking, arrived)

    def _begin(self, rows: list[int]) -> None:
        self._release()
        for row in rows:
            self.tries[row] += 1
            self.walked[row] = 0
        index = self._index(rows)
        index = index if len(rows) > 1 else index.repeat(2)  # a sum over a single row may be split among threads
        start = self.attack.start(self._draw(index, "start"), self.clean.index_select(0, index))
        self.point.index_copy_(0, index, start)

    def _walk(self, rows: list[int], arrived: list[int]) -> list[int]:
        """One gradient call and one step for samples in the batch; returns those that walk on."""
        index = self._index(rows)

        def build(items: Tensor) -> Answer:
            if self.held[0] == rows:  # nobody came or left: the batch is as the last step made it
                return self.held[1]
            chosen = index[items]
            return chosen, self.point.index_select(0, chosen), self.clean.index_select(0, chosen), self.aim[chosen]

        def ask(chosen: Tensor, points: Tensor, clean: Tensor, aim: Tensor) -> Answer:
            logits = self.calls.classifier(points.requires_grad_())
            loss, slope = self._loss(logits, aim)
            (gradient,) = torch.autograd.grad(logits, points, slope)
            points = points.detach()
            # moved with the padding: where sums are split depends on the number of rows
            # the network leaves its own memory order behind, in which elementwise steps take twice as long
            moved = self.attack.move(points, clean, gradient.contiguous(), self._draw(chosen, "move"))
            self.held = rows, (chosen, moved, clean, aim)
            return points, logits.detach(), loss

        ((_, (points, logits, loss)),) = self.calls.over(len(rows), build, ask)
        alive = self._judge(index, points, logits, loss)
        left = index[alive].tolist()
        for row in left:
            self.steps[row] += 1
            self.walked[row] += 1
        going = [row for row in left if self.walked[row] < self.attack.steps]
        if len(going) < len(rows):
            self._release()
            arrived.extend(row for row in left if self.walked[row] >= self.attack.steps)
        return going

    def _release(self) -> None:
        """Put the points of a batch that does not stay together back to the others."""
        rows, inputs = self.held
        if rows:
            self.point.index_copy_(0, self._index(rows), inputs[1][: len(rows)])
        self.held = [], ()

    def _judge_last(self, rows: list[int]) -> None:
        """Judge the points where walks have ended; a sample that may try again waits for its turn."""
        index = self._index(rows)
        points = self.point.index_select(0, index)
        (logits,) = self.calls.each(self._logits, points)
        alive = self._judge(index, points, logits, self._loss(logits, self.aim[index])[0])
        self.waiting.extend(row for row in index[alive].tolist() if self.tries[row] < self.attack.restarts)

    def _judge(self, index: Tensor, points: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Remember the best point of each sample: the first broken one, else the one of highest loss.

        A sample whose logits are not finite is lost: it keeps those logits, by which its row fails. Returns which
        samples are neither broken nor lost.
        """
        finite = logits.isfinite().all(1)
        predicted = logits.argmax(1)
        broken = predicted == self.aim[index] if self.attack.towards else predicted != self.labels[index]
        broken &= finite
        over = broken | ~finite
        better = over | (loss > self.best_loss[index])
        self.broken[index] = broken
        if not better.all():
            index, points, logits, loss = index[better], points[better], logits[better], loss[better]
        self.best.index_copy_(0, index, points)
        self.best_logits.index_copy_(0, index, logits)
        self.best_loss.index_copy_(0, index, loss)
        return ~over

    def _logits(self, points: Tensor) -> Answer:
        with torch.no_grad():
            return (self.calls.classifier(points),)

    def _loss(self, logits: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
        """The loss to be raised, one value a sample, and its slope in the logits."""
        loss, slope = log_odds(logits, aim)
        return (-loss, -slope) if self.attack.towards else (loss, slope)

    def _index(self, rows: list[int]) -> Tensor:
        return torch.as_tensor(rows, device=self.clean.device)

    def _aims(self) -> Tensor:
        """The class whose loss drives each sample: the true one, or the one a targeted attack names."""
        known = torch.where(self.labels < self.clean_logits.shape[1], self.labels, 0)
        if self.attack.towards is None:
            return known
        others = self.clean_logits.scatter(1, known.unsqueeze(1), float("nan"))
        if self.attack.towards == "least-likely":
            return others.nan_to_num(nan=float("inf")).argmin(1)
        if self.attack.towards == "runner-up":
            return others.nan_to_num(nan=float("-inf")).argmax(1)
        share = torch.as_tensor(self.stream.fork("target").uniform(())).to(self.labels.device)
        shift = 1 + (share * (self.clean_logits.shape[1] - 1)).long()
        return (known + shift) % self.clean_logits.shape[1]

    def _draw(self, index: Tensor, what: str) -> Draw:
        """Random numbers that belong to each sample's present try and step, drawn only if the attack asks for them."""
        shape = self.clean.shape[1:]

        def draw(kind: str, shape: tuple[int, ...]) -> Tensor:
            rows = index.tolist()
            streams = [self.stream.row(row, f"{what}:{self.tries[row]}:{self.walked[row]}") for row in rows]
            return torch.cat([torch.as_tensor(getattr(stream, kind)(shape)) for stream in streams]).to(self.clean)

        return Draw(lambda: draw("normal", shape), lambda: draw("uniform", shape), lambda: draw("uniform", ()))
