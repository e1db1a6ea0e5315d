"""Every model call of a run: exactly `batch_size` rows, the last padded, one kind of question each, all counted.

A row's bits depend on the size of its batch but not on its neighbours, so padding makes results independent of how rows
are grouped (measured: the same image in another batch size differs by about 1e-7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn

from xaicli.models.canonical import canonical
from xaicli.models.classifier import Classifier
from xaicli.models.layers import find_layer
from xaicli.models.tail import Tail

Answer = tuple[Tensor, ...]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode and give every module its own flag back afterwards."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


class Calls:
    """Asks one classifier. `forwards` counts the rows asked, padding not included."""

    def __init__(self, classifier: Classifier, *, batch_size: int = 32) -> None:
        self.classifier = classifier
        self.batch_size = batch_size
        self.forwards = 0
        parameter = next(classifier.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._layers: dict[str, nn.Module] = {}
        self._tails: dict[str, Tail] = {}
        self._canonical: fx.GraphModule | None = None

    def layer(self, name: str) -> nn.Module:
        """A layer with a spatial map by its name; found once, because looking asks the model about an empty image."""
        if name not in self._layers:
            self._layers[name] = self.classifier.network.get_submodule(find_layer(self.classifier, name).name)
        return self._layers[name]

    def canonical(self) -> fx.GraphModule:
        """The network as a graph of modules, from normalised images to logits; rewritten and checked on noise once."""
        if self._canonical is None:
            noise = torch.randn(2, *self.classifier.shape, generator=torch.Generator().manual_seed(0))
            self._canonical = canonical(self.classifier.network, noise.to(self.device, self.dtype))
        return self._canonical

    def tail(self, name: str) -> Tail:
        """The network above a layer; cut and checked once."""
        if name not in self._tails:
            self._tails[name] = Tail(self.classifier, self.layer(name))
        return self._tails[name]

    def over(
        self, total: int, build: Callable[[Tensor], Answer], ask: Callable[..., Answer]
    ) -> Iterator[tuple[Tensor, Answer]]:
        """Ask about items 0..total-1 in order; `build` makes the model's inputs for a vector of item numbers.

        Yields (item numbers, answers), both without the padding, which repeats the last item.
        """
        for start in range(0, total, self.batch_size):
            items = self._items(start, total)
            count = min(self.batch_size, total - start)
            yield items[:count], self._asked(ask, build(items), count)

    def each(self, ask: Callable[..., Answer], *rows: Tensor) -> Answer:
        """Ask about every row of the given tensors; the answers come back concatenated in row order."""
        total = len(rows[0])
        chunks: list[Answer] = []
        for start in range(0, total, self.batch_size):
            count = min(self.batch_size, total - start)
            if count == self.batch_size:  # views: nothing is copied
                inputs = tuple(row[start : start + count] for row in rows)
            else:
                items = self._items(start, total)
                inputs = tuple(row[items] for row in rows)
            chunks.append(self._asked(ask, inputs, count))
        return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))

    def logits(self, images: Tensor) -> Tensor:
        """Logits [n, K] of images [n, C, H, W] in [0, 1]."""
        with torch.no_grad():
            return self.each(lambda x: (self.classifier(x),), images)[0]

    def _items(self, start: int, total: int) -> Tensor:
        """The item numbers of one batch, the last item repeated."""
        return torch.arange(start, start + self.batch_size, device=self.device).clamp_(max=total - 1)

    def _asked(self, ask: Callable[..., Answer], inputs: Answer, count: int) -> Answer:
        answers = ask(*inputs)
        self.forwards += count
        return tuple(answer[:count] for answer in answers)
