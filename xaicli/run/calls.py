"""Every model call of a run: exactly `batch_size` rows, the last padded, one kind of question each, all counted.

A row's bits depend on the size of its batch but not on its neighbours, so padding makes results independent of how rows
are grouped (measured: the same image in another batch size differs by about 1e-7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from xaicli.models.classifier import Classifier

Answer = tuple[Tensor, ...]


class Calls:
    """Asks one classifier. `forwards` counts the rows asked, padding not included."""

    def __init__(self, classifier: Classifier, *, batch_size: int = 32) -> None:
        self.classifier = classifier
        self.batch_size = batch_size
        self.forwards = 0
        parameter = next(classifier.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype

    def over(
        self, total: int, build: Callable[[Tensor], Answer], ask: Callable[..., Answer]
    ) -> Iterator[tuple[Tensor, Answer]]:
        """Ask about items 0..total-1 in order; `build` makes the model's inputs for a vector of item numbers.

        Yields (item numbers, answers), both without the padding.
        """
        for start in range(0, total, self.batch_size):
            items = torch.arange(start, min(start + self.batch_size, total), device=self.device)
            padded = torch.nn.functional.pad(items, (0, self.batch_size - len(items)), value=int(items[-1]))
            answers = ask(*build(padded))
            self.forwards += len(items)
            yield items, tuple(answer[: len(items)] for answer in answers)

    def each(self, ask: Callable[..., Answer], *rows: Tensor) -> Answer:
        """Ask about every row of the given tensors; the answers come back concatenated in row order."""
        chunks = [answers for _, answers in self.over(len(rows[0]), lambda i: tuple(r[i] for r in rows), ask)]
        return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))

    def logits(self, images: Tensor) -> Tensor:
        """Logits [n, K] of images [n, C, H, W] in [0, 1]."""
        with torch.no_grad():
            return self.each(lambda x: (self.classifier(x),), images)[0]
