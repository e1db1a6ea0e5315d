"""A network's layers by name: which modules see an image as a map, in the order in which they are called."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xaicli.errors import InputError, nearest
from xaicli.models.classifier import Classifier
from xaicli.models.ensemble import Ensemble
from xaicli.models.grids import MAP, Grid

_POOLING = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.FractionalMaxPool2d,
    nn.LPPool2d,
)
_SHOWN = 12
_REORDERING = ("Unroll",)  # Hiera's: behind it, tokens do not come row by row
_MOST_EXTRA = 8  # class, distillation and register tokens; timm's largest number is 5


@dataclass(frozen=True)
class Layer:
    """A module of the network (its name there), the size of its map, and how its output holds the map."""

    name: str
    channels: int
    height: int
    width: int
    grid: Grid = MAP


@dataclass(frozen=True, eq=False)
class _Call:
    name: str
    module: nn.Module
    output: Tensor | None
    channels_last: bool


@dataclass(frozen=True, eq=False)
class _Output:
    layer: Layer
    tensor: Tensor
    module: nn.Module


@dataclass(frozen=True)
class Layers:
    """What one look at a network has found: all layers, and of them those that `auto` chooses from."""

    named: tuple[Layer, ...]
    spatial: tuple[Layer, ...]

    def find(self, name: str = "auto") -> Layer:
        """The layer of this name, `auto` for the last spatial one; InputError names the candidates."""
        if name == "auto":
            return self._some_spatial()[-1]
        known = {layer.name: layer for layer in self.named}
        if name not in known:
            listed = ", ".join(list(known)[-_SHOWN:]) or "none"
            raise InputError(
                f"the network has no layer '{name}' with a spatial map.{nearest(name, known)} "
                f"The last ones are: {listed}."
            )
        return known[name]

    def stages(self, most: int) -> list[Layer]:
        """The last spatial layer of every size of map; of several sizes, the last `most`."""
        return list({(layer.height, layer.width): layer for layer in self._some_spatial()}.values())[-most:]

    def _some_spatial(self) -> tuple[Layer, ...]:
        if not self.spatial:
            raise InputError(
                "the network has no layer with a spatial map, so a method that needs a layer cannot explain it; "
                "use one that needs none, such as integrated-gradients."
            )
        return self.spatial


def look(classifier: Classifier, shape: tuple[int, int, int] | None = None) -> Layers:
    """All modules with one map as output, in the order in which they finish for one image of this shape.

    A map is [N, K, h, w], or the same channels-last or as a sequence of tokens; the layer's grid says which. shape:
    channels, height and width, the classifier's own by default. A module that is called more than once has no single
    output and is left out.

    A layer is spatial if it tells places apart: larger than 1x1, not the result of a pooling module unless there is
    nothing else, and of tokens one whose places still reach the logits: with a class token, the last is what the last
    attention reads. The last spatial layer is the outermost of several modules with the same output. Raises InputError
    for several networks in one, of which no layer is all that the logits rest on.
    """
    if isinstance(classifier.network, Ensemble):
        raise InputError(
            "several networks in one have no layer in common; ask about the networks one by one, which draws=2 or more "
            "does, or use a method that needs no layer, such as integrated-gradients."
        )
    outputs = _observe(classifier, shape)
    named = tuple(output.layer for output in outputs)
    wide = [output for output in outputs if output.layer.height * output.layer.width > 1 and not _projects(output)]
    if wide and wide[-1].layer.grid.extra:
        heard = _heard(classifier, shape)
        wide = [output for output in wide if output.layer.name in heard] or wide
    # A container that ends in a pooling module hands out that module's tensor: it is pooled as well.
    pooled = [output.tensor for output in wide if isinstance(output.module, _POOLING)]
    spatial = [output for output in wide if not any(output.tensor is tensor for tensor in pooled)] or wide
    return Layers(named, tuple(output.layer for output in spatial))


def named_layers(classifier: Classifier, shape: tuple[int, int, int] | None = None) -> list[Layer]:
    """All layers with a map."""
    return list(look(classifier, shape).named)


def auto_layer(classifier: Classifier, shape: tuple[int, int, int] | None = None) -> str:
    """The name of the last spatial layer. Raises InputError for a network without maps."""
    return find_layer(classifier, "auto", shape).name


def find_layer(classifier: Classifier, name: str = "auto", shape: tuple[int, int, int] | None = None) -> Layer:
    """The layer of this name, `auto` for the last spatial one; InputError names the candidates."""
    return look(classifier, shape).find(name)


def _heard(classifier: Classifier, shape: tuple[int, int, int] | None) -> set[str]:
    """The layers with places on which the logits depend, whatever the weights.

    Behind the last attention, only the class token leads on to the logits. The gradient that is sent back is not a
    number, which stays so through weights of zero, and is no part of what a token is not read for.
    """
    logits: list[Tensor] = []
    outputs = [output for output in _observe(classifier, shape, logits) if output.tensor.requires_grad]
    (answer,) = logits
    found = torch.autograd.grad(
        answer,
        [output.tensor for output in outputs],
        torch.full_like(answer, float("nan")),
        allow_unused=True,
    )
    return {
        output.layer.name
        for output, gradient in zip(outputs, found, strict=True)
        if gradient is not None and output.layer.grid.maps(gradient).isnan().any()
    }


def _projects(output: _Output) -> bool:
    """Of tokens made by a linear layer: queries, keys and values, or what is inside a block's dense layers."""
    return output.layer.grid.kind == "tokens" and isinstance(output.module, nn.Linear)


def _observe(
    classifier: Classifier, shape: tuple[int, int, int] | None, logits: list[Tensor] | None = None
) -> list[_Output]:
    """One forward of zeros with a hook on every module; the outputs are kept so that they can be told apart.

    logits: a list that receives them, all then with gradients. What is inside a module that turns tokens [N, T, K], or
    a channels-last map, into the same is no map even with four axes: it is attention, or lies channels-last as well.
    """
    calls: list[_Call] = []
    channels_last: list[Tensor] = []
    mapless: set[str] = set()

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            if not isinstance(output, Tensor):
                calls.append(_Call(name, module, None, False))
                return
            last = output.dim() == 4 and _is_channels_last(module, inputs, output, channels_last)
            if last:
                if inputs and any(inputs[0] is tensor for tensor in channels_last):
                    mapless.add(name)
                channels_last.append(output)
            elif output.dim() == 3 and inputs and isinstance(inputs[0], Tensor) and inputs[0].dim() == 3:
                mapless.add(name)
            calls.append(_Call(name, module, output, last))

        return module.register_forward_hook(hook)

    handles = [watch(name, module) for name, module in classifier.network.named_modules() if name]
    modes = {module: module.training for module in classifier.modules()}
    zeros = torch.zeros(1, *(shape or classifier.shape), device=classifier.mean.device, dtype=classifier.mean.dtype)
    try:
        classifier.eval()
        with torch.set_grad_enabled(logits is not None):
            answer = classifier(zeros.requires_grad_(logits is not None))
        if logits is not None:
            logits.append(answer)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return _read(calls, mapless)


def _read(calls: list[_Call], mapless: set[str]) -> list[_Output]:
    """The maps among the outputs of one forward, in the order in which they were made."""
    times = Counter(call.name for call in calls)
    sizes: list[tuple[int, int]] = []
    found = []
    for call in calls:
        if type(call.module).__name__ in _REORDERING:
            break
        inside = any(call.name.startswith(f"{outer}.") for outer in mapless)
        grid = None if call.output is None or len(call.output) != 1 else _grid(call, inside, sizes)
        if call.output is None or grid is None:
            continue
        channels, height, width = grid.maps(call.output).shape[1:]
        sizes.append((height, width))
        if times[call.name] == 1:
            found.append(_Output(Layer(call.name, channels, height, width, grid), call.output, call.module))
    return found


def _grid(call: _Call, inside: bool, sizes: list[tuple[int, int]]) -> Grid | None:
    """How an output holds a map, of a size among those of maps before it, or of half such a size; None if it does not.

    inside: whether it was made where no map lies channels first.
    """
    output, shape = call.output, () if call.output is None else call.output.shape
    halves = [(-(-height // 2), -(-width // 2)) for height, width in sizes]
    if len(shape) == 4 and not call.channels_last:
        return None if inside else MAP
    if len(shape) == 4:
        return Grid("channels-last") if (shape[1], shape[2]) in {*sizes, *halves} else None  # others are heads
    if output is None or len(shape) != 3 or isinstance(call.module, nn.Flatten):  # a flattened map has other axes
        return None
    for known, most in ((sizes, _MOST_EXTRA), (halves, 0)):
        for height, width in reversed(known):
            if height * width > 1 and 0 <= shape[1] - height * width <= most:
                return Grid("tokens", height, width, shape[1] - height * width)
    return None


def _is_channels_last(module: nn.Module, inputs: tuple[object, ...], output: Tensor, known: list[Tensor]) -> bool:
    """Whether an output is [N, h, w, K], as inside Swin and ConvNeXt."""
    if type(module).__name__ == "Permute":  # torchvision's
        return list(getattr(module, "dims", ())) == [0, 2, 3, 1]
    if isinstance(module, nn.Linear) or _acts_on_last_axis(module):
        return True
    handed_on = [output, *(x for x in inputs if isinstance(x, Tensor) and x.shape == output.shape)]
    return any(tensor is other for tensor in handed_on for other in known)


def _acts_on_last_axis(module: nn.Module) -> bool:
    """Of a LayerNorm; the subclasses called LayerNorm2d act on the channels of a map."""
    return isinstance(module, nn.LayerNorm) and not type(module).__name__.endswith("2d")
