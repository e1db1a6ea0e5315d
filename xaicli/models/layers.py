"""A network's layers by name: which modules see an image as a map, in the order in which they are called."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from xaicli.errors import InputError, nearest
from xaicli.models.classifier import Classifier

_POOLING = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.FractionalMaxPool2d,
    nn.LPPool2d,
)
_SHOWN = 12


@dataclass(frozen=True)
class Layer:
    """A module of the network (its name there) and the size of its output map."""

    name: str
    channels: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class _Output:
    layer: Layer
    tensor: Tensor
    pooling: bool


def named_layers(classifier: Classifier, shape: tuple[int, int, int] | None = None) -> list[Layer]:
    """All modules with one map as output, [N, K, h, w], in the order in which they finish for one image of this shape.

    shape: channels, height and width, the classifier's own by default. A module that is called more than once has no
    single output and is left out.
    """
    return [output.layer for output in _observe(classifier, shape)]


def auto_layer(classifier: Classifier, shape: tuple[int, int, int] | None = None) -> str:
    """The last layer that still tells places apart: larger than 1x1 and not the result of a pooling module.

    The outermost of several modules with the same output. Raises InputError for a network without maps.
    """
    outputs = [output for output in _observe(classifier, shape) if output.layer.height * output.layer.width > 1]
    pooled = [output.tensor for output in outputs if output.pooling]
    # A container that ends in a pooling module hands out that module's tensor: it is pooled as well.
    spatial = [output for output in outputs if not any(output.tensor is tensor for tensor in pooled)]
    if not outputs:
        raise InputError(
            "the network has no layer with a spatial map, so a method that needs a layer cannot explain it; "
            "use one that needs none, such as integrated-gradients."
        )
    return (spatial or outputs)[-1].layer.name


def find_layer(classifier: Classifier, name: str = "auto", shape: tuple[int, int, int] | None = None) -> Layer:
    """The layer of this name, `auto` for the one that `auto_layer` picks; InputError names the candidates."""
    layers = {layer.name: layer for layer in named_layers(classifier, shape)}
    if name == "auto":
        return layers[auto_layer(classifier, shape)]
    if name not in layers:
        listed = ", ".join(list(layers)[-_SHOWN:]) or "none"
        raise InputError(
            f"the network has no layer '{name}' with a spatial map.{nearest(name, layers)} The last ones are: {listed}."
        )
    return layers[name]


def _observe(classifier: Classifier, shape: tuple[int, int, int] | None) -> list[_Output]:
    """One forward of zeros with a hook on every module; the outputs are kept so that they can be told apart.

    What is inside a module that turns tokens [N, T, K], or a channels-last map, into the same is no map even with four
    axes: it is attention, or lies channels-last as well.
    """
    seen: dict[str, list[_Output | None]] = {}
    channels_last: list[Tensor] = []
    mapless: set[str] = set()

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            calls = seen.setdefault(name, [])
            if not isinstance(output, Tensor) or output.dim() != 4:
                if inputs and all(isinstance(x, Tensor) and x.dim() == 3 for x in (inputs[0], output)):
                    mapless.add(name)
                calls.append(None)
            elif _is_channels_last(module, inputs, output, channels_last):
                if inputs and any(inputs[0] is tensor for tensor in channels_last):
                    mapless.add(name)
                channels_last.append(output)
                calls.append(None)
            else:
                calls.append(_Output(Layer(name, *output.shape[1:]), output, isinstance(module, _POOLING)))

        return module.register_forward_hook(hook)

    handles = [watch(name, module) for name, module in classifier.network.named_modules() if name]
    modes = {module: module.training for module in classifier.modules()}
    zeros = torch.zeros(1, *(shape or classifier.shape), device=classifier.mean.device, dtype=classifier.mean.dtype)
    try:
        classifier.eval()
        with torch.no_grad():
            classifier(zeros)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return [
        calls[0]
        for name, calls in seen.items()
        if len(calls) == 1 and calls[0] is not None and not any(name.startswith(f"{outer}.") for outer in mapless)
    ]


def _is_channels_last(module: nn.Module, inputs: tuple[object, ...], output: Tensor, known: list[Tensor]) -> bool:
    """Whether an output is [N, h, w, K], as inside Swin and ConvNeXt: no map for methods that expect [N, K, h, w]."""
    if type(module).__name__ == "Permute":  # torchvision's
        return list(getattr(module, "dims", ())) == [0, 2, 3, 1]
    if isinstance(module, nn.Linear) or _acts_on_last_axis(module):
        return True
    handed_on = [output, *(x for x in inputs if isinstance(x, Tensor) and x.shape == output.shape)]
    return any(tensor is other for tensor in handed_on for other in known)


def _acts_on_last_axis(module: nn.Module) -> bool:
    """Of a LayerNorm; the subclasses called LayerNorm2d act on the channels of a map."""
    return isinstance(module, nn.LayerNorm) and not type(module).__name__.endswith("2d")
