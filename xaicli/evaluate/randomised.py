"""Models that have forgotten: a copy whose layers are initialised anew, one after the other from the logits down."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.random import generator


@dataclass(frozen=True)
class Randomisation:
    """One set of random weights: a layer's depend on its name alone, not on what else was randomised before."""

    seed: int
    name: str

    def stages(self, calls: Calls, count: int | None, *, last: bool = True) -> Iterator[Calls]:
        """The model after `count` stages, evenly spread over its layers (all by default), the last wholly random.

        One copy of the model serves all stages: each is to be asked before the next one is taken. The model itself
        stays as it is, and is not among them. last: whether the last stage is.
        """
        copy = deepcopy(calls.classifier)
        layers = list(reversed(layers_in_order(copy)))
        wanted = stops(len(layers), count)[: None if last else -1]
        for number, names in enumerate(layers, start=1):
            for name in names:
                self._forget(copy.network.get_submodule(name), name)
            if number in wanted:
                yield Calls(copy, batch_size=calls.batch_size)

    def wholly(self, calls: Calls) -> Calls:
        """The last stage."""
        (wholly,) = self.stages(calls, 1)
        return wholly

    def _forget(self, layer: nn.Module, name: str) -> None:
        """Initialise a layer's own parameters as its class does, on the CPU, so that no device changes them.

        Parameters of a class that does not say how are drawn from a normal distribution of the same mean and deviation.
        """
        own = list(layer.named_parameters(recurse=False))
        reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
        device, flags = own[0][1].device, [parameter.requires_grad for _, parameter in own]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(generator(self.seed, f"{self.name}/{name}").integers(2**62)))
            layer.cpu()
            if callable(reset):
                reset()
            else:
                for _, parameter in own:
                    mean, deviation = parameter.mean(), parameter.std(correction=0)
                    parameter.copy_(mean + deviation * torch.randn(parameter.shape, dtype=parameter.dtype))
            layer.to(device)
        for (_, parameter), flag in zip(own, flags, strict=True):
            parameter.requires_grad_(flag)


def stops(layers: int, count: int | None) -> list[int]:
    """After how many layers to stop: `count` evenly spread numbers up to all of them, or each."""
    count = min(count or layers, layers)
    return [round(layers * (k + 1) / count) for k in range(count)]


def layers_in_order(classifier: Classifier) -> list[list[str]]:
    """The names of the modules with parameters of their own, in the order in which one image meets them.

    What is used without being called, as attention uses its output projection, goes with the module right above it;
    what else is not called, such as a head for training, is left out.
    """
    owners = {
        name: module
        for name, module in classifier.network.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    }
    called: dict[str, list[str]] = {}

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def hook(_module: nn.Module, _inputs: object) -> None:
            called.setdefault(name, [name])

        return module.register_forward_pre_hook(hook)

    handles = [watch(name, module) for name, module in owners.items()]
    try:
        with torch.no_grad():
            classifier(torch.zeros(1, *classifier.shape).to(classifier.mean))
    finally:
        for handle in handles:
            handle.remove()
    for name in owners.keys() - called.keys():
        above = name.rpartition(".")[0]
        if above in called:
            called[above].append(name)
    return [sorted(names) for names in called.values()]
