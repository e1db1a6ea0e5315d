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
from xaicli.models.ensemble import Ensemble
from xaicli.models.head import Head, features_of, find_head
from xaicli.models.layers import Layer, Layers, look
from xaicli.models.tail import Tail
from xaicli.models.tracing import CanonicalError

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
        self._layers: Layers | None = None
        self._head: Head | None = None
        self._tails: dict[str, Tail] = {}
        self._canonical: fx.GraphModule | None = None
        self._folded: Classifier | None = None

    def apart(self) -> Calls:
        """The same classifier with a count of its own, for what is asked once a run and belongs to no row."""
        other = Calls(self.classifier, batch_size=self.batch_size)
        other._layers, other._head = self._layers, self._head
        return other

    def members(self) -> list[Calls]:
        """The networks of an ensemble, each with a count of its own; of any other classifier, this one itself."""
        network = self.classifier.network
        if not isinstance(network, Ensemble):
            return [self]
        return [Calls(self.classifier.around(member), batch_size=self.batch_size) for member in network.networks]

    def find(self, name: str) -> Layer:
        """A layer with a spatial map by its name."""
        return self.layers().find(name)

    def layers(self) -> Layers:
        """All of them; looked for once, because it asks the model about an empty image."""
        if self._layers is None:
            self._layers = look(self.classifier)
        return self._layers

    def layer(self, name: str) -> nn.Module:
        """The module of such a layer."""
        return self.classifier.network.get_submodule(self.find(name).name)

    def head(self) -> Head:
        """The linear layer that makes the logits; found once, with noise."""
        if self._head is None:
            self._head = find_head(self.classifier)
        return self._head

    def canonical(self) -> fx.GraphModule:
        """The network as a graph of modules, from normalised images to logits; rewritten and checked on noise once."""
        if self._canonical is None:
            noise = torch.randn(2, *self.classifier.shape, generator=torch.Generator().manual_seed(0))
            self._canonical = canonical(self.classifier.network, noise.to(self.device, self.dtype))
        return self._canonical

    def folded(self) -> Classifier:
        """The classifier with BatchNorms folded into the layers before them, made once, for many questions.

        Its logits are equal to 1e-4. The classifier itself where it has no BatchNorm or cannot be rewritten.
        """
        if self._folded is None:
            self._folded = self._fold()
        return self._folded

    def _fold(self) -> Classifier:
        own = self.classifier
        if not any(isinstance(module, nn.BatchNorm2d) for module in own.modules()):
            return own
        noise = torch.randn(2, *own.shape, generator=torch.Generator().manual_seed(0))
        try:
            network = canonical(own.network, noise.to(self.device, self.dtype), fold=True)
        except CanonicalError:
            return own
        return own.around(network).eval()  # which shares the other layers' parameters: nothing of it may be changed

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

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [n, K] of images, and the inputs [n, D] of the linear layer that makes them."""
        head = self.head()

        def ask(images: Tensor) -> Answer:
            with features_of(head) as captured:
                logits = self.classifier(images)
            return logits, captured[0]

        with torch.no_grad():
            logits, features = self.each(ask, images)
        return logits, features

    def _items(self, start: int, total: int) -> Tensor:
        """The item numbers of one batch, the last item repeated."""
        return torch.arange(start, start + self.batch_size, device=self.device).clamp_(max=total - 1)

    def _asked(self, ask: Callable[..., Answer], inputs: Answer, count: int) -> Answer:
        answers = ask(*inputs)
        self.forwards += count
        return tuple(answer[:count] for answer in answers)
