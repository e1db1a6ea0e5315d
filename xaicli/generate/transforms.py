"""Small random displacements, sizes and turns of an image, which what a network sees in it has to survive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


@dataclass(frozen=True)
class Transforms:
    """Jitter, scale and rotation in one bilinear resampling; what comes in from outside mirrors the edge."""

    jitter: float = 1 / 16
    """Largest displacement, as a share of the side: 2 pixels of 32, 14 of 224."""
    scale: float = 1.1
    """Largest factor, and its inverse the smallest."""
    degrees: float = 10.0

    def __call__(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Images [n, C, H, W] seen anew by uniform numbers [n, 4]: across, down, size and turn."""
        signed = (2 * numbers - 1).to(images)
        factor = (math.log(self.scale) * signed[:, 2]).exp()
        angle = math.radians(self.degrees) * signed[:, 3]
        cos, sin = factor * angle.cos(), factor * angle.sin()
        ratio = images.shape[2] / images.shape[3]  # coordinates run from -1 to 1 along both sides
        shift = 2 * self.jitter * signed[:, :2]
        theta = torch.stack([cos, -sin * ratio, shift[:, 0], sin / ratio, cos, shift[:, 1]], 1).view(-1, 2, 3)
        # on a GPU, the gradient would be added up in any order, and no two runs were equal
        here, theta = images.cpu(), theta.cpu()
        grid = affine_grid(theta, list(here.shape), align_corners=False)
        seen = grid_sample(here, grid, padding_mode="reflection", align_corners=False)
        return seen.to(images.device)
