"""Running an attack of torchattacks: our model, our box and ball, our verdict; nothing of the caller's is touched.

The library averages its losses over a batch, stops when the batch stops, and draws for all of it (its PGDL2 moves by
0.50 alone and by 0.0024 among 512). So it is handed one image at a time, with a seed that belongs to the image: a row
then depends on neither neighbours nor block, and is attacked as strongly as the library can.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaicli.attack.engine import Attacked
from xaicli.attack.library.borrowed import Borrowed
from xaicli.attack.library.distance import distance
from xaicli.attack.norms import project
from xaicli.attack.walk import Block
from xaicli.data.dataset import UNKNOWN
from xaicli.errors import XaicliError
from xaicli.run.calls import Calls, evaluating
from xaicli.run.progress import warn
from xaicli.run.random import Stream, generator

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}  # as the library spells them
SEEDED = ("APGD", "APGDT", "FAB", "Square", "AutoAttack")  # they seed the generators themselves
COUNTING = ("APGDT", "FAB", "AutoAttack")  # they need the number of classes
BY_LABEL = ("SPSA", "PIFGSMPP")  # targeted, they take the labels for the targets

BEYOND = (1e-4, 1e-3, 1e-2)
"""Shares by which a change that ends on the border is lengthened: there one image alone gives a logit of another last
digit than the same in a batch, and by the verdict of the batch nothing would be broken."""


class Library:
    """Runs one attack of the library over the samples of one block, one image at a time."""

    def __init__(self, attack: Borrowed, calls: Calls, stream: Stream) -> None:
        self.attack, self.calls, self.stream = attack, calls, stream
        self._said: set[str] = set()  # errors of this block

    def run(self, images: Tensor, labels: Tensor) -> Attacked:
        """Attack images [n, C, H, W] with true labels int64 [n]; samples that are wrong already are left alone.

        `steps` counts the images that the model was asked about. A row on which the library fails, or gives an image
        that is not finite, keeps its image and gets logits that are NaN.
        """
        with evaluating(self.calls.classifier):
            clean_logits = self.calls.logits(images)
            right = ((clean_logits.argmax(1) == labels) & clean_logits.isfinite().all(1)).nonzero().flatten()
            aim = self._aim(Block(images, labels, clean_logits, self.stream))
            best, logits = images.clone(), clean_logits.clone()
            lost = torch.zeros_like(labels, dtype=torch.bool)
            steps = torch.zeros_like(labels)
            for row in right.tolist():
                seen = _Seen(self.calls)
                found = self._attacked(seen, images[row], int(labels[row]), int(aim[row]), row)
                lost[row] = found is None
                if found is not None:
                    best[row] = self._inside(found, images[row])
                steps[row] = seen.asked
            if len(right):
                logits[right] = self.calls.logits(best[right])
            logits[lost] = torch.nan
            success = torch.zeros_like(lost)
            success[right] = self._reached(logits[right], labels[right], aim[right])
            for further in BEYOND if self.attack.looks_for_border else ():
                short = right[~success[right] & (best[right] != images[right]).flatten(1).any(1)]
                if len(short):
                    moved = (images[short] + (1 + further) * (best[short] - images[short])).clamp(0, 1)
                    said = self.calls.logits(moved)
                    over = self._reached(said, labels[short], aim[short])
                    best[short[over]], logits[short[over]], success[short[over]] = moved[over], said[over], True
        radius = torch.nan if self.attack.eps is None else self.attack.eps
        return Attacked(
            images=best,
            logits=logits,
            clean_logits=clean_logits,
            success=success,
            distance=distance(best - images, self.attack.norm),
            steps=steps,
            target=aim if self.attack.towards else torch.full_like(labels, UNKNOWN),
            stage=success.to(torch.uint8),
            broken_at=torch.where(success, radius, torch.nan).to(images),
        )

    def _aim(self, block: Block) -> Tensor:
        """The class that each sample is to be driven to; of no meaning where the attack only drives away."""
        if self.attack.towards == "next":
            return (block.known + 1) % block.logits.shape[1]
        return block.aim(self.attack.towards or "runner-up")

    def _reached(self, logits: Tensor, labels: Tensor, aim: Tensor) -> Tensor:
        """Whether the attack's goal is reached, by logits [n, K]."""
        found = logits.argmax(1) == aim if self.attack.towards else logits.argmax(1) != labels
        return found & logits.isfinite().all(1)

    def _attacked(self, seen: _Seen, image: Tensor, label: int, aim: int, row: int) -> Tensor | None:
        """What the library makes of one image, [C, H, W] in float32; None where it fails."""
        name, index = f"{self.stream.name}/torchattacks", self.stream.index[row]
        seed = int(generator(self.stream.seed, name, index).integers(2**32))
        with _apart(self.calls, seed):
            given = image[None].float()
            try:
                attack = self._made(seen, seed, aim)
                shown = aim if self.attack.towards and self.attack.library in BY_LABEL else label
                found = attack(given.clone(), torch.tensor([shown], device=given.device))[0].detach()
            except (XaicliError, MemoryError, torch.cuda.OutOfMemoryError):
                raise
            except Exception as error:  # of any kind: the row fails, the others do not
                if isinstance(error, RuntimeError) and "memory" in str(error):
                    raise
                if str(error) not in self._said:
                    self._said.add(str(error))
                    warn(f"torchattacks' {self.attack.library} failed on row {index}, maybe on others too: {error}")
                return None
        if not found.isfinite().all():
            return None
        # where the library left a value alone, it is ours, not its float32 copy
        return torch.where(found == given[0], image, found.to(image))

    def _made(self, seen: _Seen, seed: int, aim: int) -> Any:
        import torchattacks

        options = dict(self.attack.options)
        if "norm" in options:
            options["norm"] = NORMS[options["norm"]]
        if self.attack.library in SEEDED:
            options["seed"] = seed
        if self.attack.library in COUNTING:
            options["n_classes"] = len(self.calls.classifier.class_names)
        attack = getattr(torchattacks, self.attack.library)(seen, **options)
        if self.attack.towards:
            attack.set_mode_targeted_by_function(lambda images, labels: torch.full_like(labels, aim), quiet=True)
        return attack

    def _inside(self, found: Tensor, clean: Tensor) -> Tensor:
        """The image in the box, and in the ball where the attack has one: rounding may have left it."""
        if self.attack.eps is None or self.attack.norm == "l0":
            return found.clamp(0, 1)
        return project(found[None], clean[None], self.attack.eps, self.attack.norm)[0]


class _Seen(nn.Module):
    """What the library sees: a model of pixels in [0, 1], in float32, that never trains. `asked` counts its images."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self.classifier = calls.classifier
        self.calls, self.asked = calls, 0
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [n, K]."""
        self.asked += len(pixels)
        self.calls.forwards += len(pixels)
        logits: Tensor = self.classifier(pixels.to(self.calls.dtype))
        return logits.float()


@contextmanager
def _apart(calls: Calls, seed: int) -> Iterator[None]:
    """Within, all generators begin with `seed`, parameters are frozen, and prints and warnings go where they may.

    Afterwards the caller finds generators and parameters as they were.
    """
    trained = [parameter for parameter in calls.classifier.parameters() if parameter.requires_grad]
    devices = [calls.device] if calls.device.type == "cuda" else []
    state, legacy = random.getstate(), np.random.get_state()
    with (
        torch.random.fork_rng(devices),
        torch.enable_grad(),
        warnings.catch_warnings(),
        redirect_stdout(sys.stderr),
    ):
        warnings.simplefilter("ignore")
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
            random.setstate(state)
            np.random.set_state(legacy)
