"""What a module is given and what it hands on during a forward, differentiable down to the image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def output_in(module: nn.Module) -> Iterator[list[Tensor]]:
    """The module's output of a forward that runs within."""
    outputs: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs[:] = [output.clone()]  # the layers above may change it in place

    handle = module.register_forward_hook(hook)
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def input_in(module: nn.Module) -> Iterator[list[Tensor]]:
    """The same of the module's only input."""
    inputs: list[Tensor] = []

    def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs[:] = [given[0]]

    handle = module.register_forward_pre_hook(hook)
    try:
        yield inputs
    finally:
        handle.remove()
