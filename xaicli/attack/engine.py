"""The attack engine: what an attack, or a series of attacks, makes of the samples of one block."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaicli.attack.network import Network
from xaicli.attack.norms import size
from xaicli.attack.plan import Search, Series, Stage, may_fold, stages_of
from xaicli.attack.walk import Block, Walk
from xaicli.data.dataset import UNKNOWN
from xaicli.run.calls import Calls, evaluating
from xaicli.run.random import Stream


@dataclass(frozen=True)
class Attacked:
    """The outcome for n samples: the first broken iterate, else the one of highest loss, else the clean image.

    Attacks that minimise keep the smallest breaking perturbation instead. Of a series the highest loss is that of its
    first attack at the largest radius.
    """

    images: Tensor  # [n, C, H, W] in [0, 1]
    logits: Tensor  # [n, K] on `images`
    clean_logits: Tensor  # [n, K]
    success: Tensor  # bool [n]: right on the clean image and broken
    distance: Tensor  # [n], in the attack's norm
    steps: Tensor  # int64 [n], steps taken until broken, or in all
    target: Tensor  # int64 [n], the class a targeted attack aims at, else 65535
    stage: Tensor  # uint8 [n], the number of the attack in its series that broke the sample; 0 for none
    broken_at: Tensor  # [n], the smallest radius asked at which the sample was broken; NaN for none


class Engine:
    """Runs one attack over the samples of one block; bf16: it searches in bfloat16."""

    def __init__(self, attack: Search | Series, calls: Calls, stream: Stream, *, bf16: bool = False) -> None:
        self.attack, self.calls, self.stream, self.bf16 = attack, calls, stream, bf16

    def run(self, images: Tensor, labels: Tensor) -> Attacked:
        """Attack images [n, C, H, W] with true labels int64 [n]; samples that are wrong already are left alone."""
        with evaluating(self.calls.classifier):
            logits = self.calls.logits(images)
            block = Block(images, labels, logits, self.stream)
            right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
            done = _clean(block)
            for stage in stages_of(self.attack):
                rows = (right & ~done.success & done.logits.isfinite().all(1)).nonzero().flatten().tolist()
                if rows:
                    done = self._stage(stage, block, rows, done)
        towards = self.attack.towards
        if towards is not None and towards != "each":
            done = replace(done, target=block.aim(towards))
        return replace(done, distance=size(done.images - images, self.attack.norm))

    def _stage(self, stage: Stage, block: Block, rows: list[int], done: Attacked) -> Attacked:
        search = stage.search
        if stage.name:
            block = replace(block, stream=self.stream.fork(stage.name))
        if stage.warm:
            block = replace(block, warm=done.images)
        faster = may_fold(search, block.logits.shape[1])
        network = Network(self.calls, faster=faster, bf16=self.bf16 and not search.minimise)
        tries = Walk(search, network, block, rows).run()
        index = torch.as_tensor(rows, device=block.labels.device)
        broken = tries.broken[index]
        lost = ~tries.best.logits[index].isfinite().all(1)
        kept = index[broken | lost | torch.as_tensor(stage.shows, device=index.device)]
        images, logits, success = done.images.clone(), done.logits.clone(), done.success.clone()
        images[kept], logits[kept] = tries.best.point[kept], tries.best.logits[kept]
        success[index] = broken
        steps = done.steps + torch.as_tensor(tries.steps, device=index.device)
        number, radius = done.stage.clone(), done.broken_at.clone()
        number[index[broken]] = stage.number
        radius[index[broken]] = float("nan") if search.eps is None else search.eps
        return replace(done, images=images, logits=logits, success=success, steps=steps, stage=number, broken_at=radius)


def _clean(block: Block) -> Attacked:
    """Before any attack."""
    labels, count = block.labels, len(block.labels)
    return Attacked(
        images=block.clean.clone(),
        logits=block.logits.clone(),
        clean_logits=block.logits,
        success=torch.zeros(count, dtype=torch.bool, device=labels.device),
        distance=block.clean.new_zeros(count),
        steps=torch.zeros(count, dtype=torch.int64, device=labels.device),
        target=torch.full_like(labels, UNKNOWN),
        stage=torch.zeros(count, dtype=torch.uint8, device=labels.device),
        broken_at=block.clean.new_full((count,), float("nan")),
    )
