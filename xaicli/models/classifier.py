"""The border between pixels and networks: images in [0, 1] go in, normalisation happens inside, logits come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from xaicli.files.checkpoint import CheckpointMeta


class Classifier(nn.Module):
    """A network with its normalisation, class names and image size.

    network: normalised [N, C, H, W] -> logits [N, K]. mean, std: one value per channel, of pixels in [0, 1]. Both are
    buffers outside the state dict (the checkpoint's metadata holds them), so its keys all begin with `network.`. A
    classifier loaded from a checkpoint has its metadata in `meta`. Modules that are put into `still` stay in evaluation
    mode: the BatchNorms of frozen layers.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        class_names: Sequence[str],
        shape: tuple[int, int, int],
        meta: CheckpointMeta | None = None,
    ) -> None:
        super().__init__()
        channels = shape[0]
        if len(mean) != channels or len(std) != channels:
            raise ValueError(f"{channels} channels need as many means and deviations, not {len(mean)} and {len(std)}")
        if not all(value > 0 for value in std):
            raise ValueError(f"standard deviations must be positive, not {list(std)}")
        self.network = network
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, channels, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(1, channels, 1, 1), persistent=False)
        self.class_names = tuple(class_names)
        self.shape = shape
        self.meta = meta
        self.still: tuple[nn.Module, ...] = ()

    def train(self, mode: bool = True) -> Self:
        """Put all modules but the still ones into training or evaluation mode."""
        super().train(mode)
        for module in self.still:
            module.eval()
        return self

    def around(self, network: nn.Module) -> Classifier:
        """The same border round another network, which shares the normalisation and gets this one's mode."""
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        other = Classifier(network, mean, std, self.class_names, self.shape, self.meta)
        other.mean, other.std = self.mean, self.std
        return other.train(self.training)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels [N, C, H, W] in [0, 1] -> logits [N, K]."""
        # A grey image would otherwise be broadcast over three channels without a word. Traceable, unlike an `if`.
        torch._assert(pixels.shape[1] == self.shape[0], "the images do not have the classifier's number of channels")
        logits: Tensor = self.network((pixels - self.mean) / self.std)
        return logits
