"""Class activation maps that ask what the channels have in common: their projection on one direction.

Image by image and in double precision, so that a map's bits do not depend on its neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.explain.explanation import PixelMaps


def eigencam(activations: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """Eigen-CAM: activations projected on their first principal component (Muhammad and Yeasin, 2020).

    activations: [n, K, h, w] at `layer`; no gradient, so it does not depend on the explained class. The component v has
    the sign in which the mean activation lies: sum_k v_k mean(A_k) >= 0. Returns [n, 1, h, w], signed with mean 0 if
    not `relu`, in units of the activations.
    """
    return _cut_off(_projections(activations), relu)


def eigengradcam(activations: Tensor, gradients: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """Eigen-Grad-CAM: activation times gradient on its first principal component (Muhammad and Yeasin, 2020).

    activations, gradients: [n, K, h, w] at `layer`; the sign is Eigen-CAM's, with activation times gradient in the
    place of the activation. Returns [n, 1, h, w], signed with mean 0 if not `relu`, in units of the quantity.
    """
    return _cut_off(_projections(activations * gradients), relu)


def segeigencam(activations: Tensor, gradients: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """Seg-Eigen-CAM: activation times absolute gradient on its first principal component (Chung and Ying, 2025).

    activations, gradients: [n, K, h, w] at `layer`. The sign makes the largest absolute value positive. Returns
    [n, 1, h, w], signed with mean 0 if not `relu`, in units of the quantity.
    """
    maps = _projections(activations * gradients.abs())
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return _cut_off(torch.where(low.abs() > high.abs(), -maps, maps), relu)


def kpca_cam(activations: Tensor, *, layer: str = "auto", relu: bool = True) -> PixelMaps:
    """KPCA-CAM: activations on the first component of a kernel PCA (Karmani et al., 2024).

    activations: [n, K, h, w] at `layer`; no gradient. The kernel is the sigmoid, tanh(<a, b> / K + 1) of the centred
    activations of two places; the sign makes the largest absolute value positive. Returns [n, 1, h, w], signed with
    mean 0 if not `relu`; no unit. For late layers: the cost grows with the cube of their places.
    """
    return _cut_off(torch.stack([_kernel_projection(maps.double()) for maps in activations]).to(activations), relu)


def _projections(maps: Tensor) -> Tensor:
    """Each place's coordinate on the first right singular vector of the centred maps, [n, K, h, w] -> [n, 1, h, w]."""
    return torch.stack([_projection(single.double()) for single in maps]).to(maps)


def _projection(maps: Tensor) -> Tensor:
    places = maps.flatten(1).T.contiguous()  # [h w, K]
    mean = places.mean(0)
    centred = places - mean
    # the eigenvectors of the smaller of the two Gram matrices: what the singular value decomposition would find
    if len(centred) <= centred.shape[1]:
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        coordinates = vectors[:, -1] * values[-1].clamp_min(0).sqrt()
        side = coordinates @ (centred @ mean)  # <v, mean> times the singular value, which is not negative
    else:
        vectors = torch.linalg.eigh(centred.T @ centred).eigenvectors
        coordinates, side = centred @ vectors[:, -1], vectors[:, -1] @ mean
    return torch.where(side < 0, -coordinates, coordinates).view(1, *maps.shape[1:])


def _kernel_projection(maps: Tensor) -> Tensor:
    places = maps.flatten(1).T.contiguous()
    centred = places - places.mean(0)
    kernel = torch.tanh(centred @ centred.T / centred.shape[1] + 1)
    kernel = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    values, vectors = torch.linalg.eigh(kernel)
    coordinates = vectors[:, -1] * values[-1].clamp_min(0).sqrt()
    turn = coordinates.min().abs() > coordinates.max().abs()
    return torch.where(turn, -coordinates, coordinates).view(1, *maps.shape[1:])


def _cut_off(maps: Tensor, relu: bool) -> Tensor:
    return maps.relu() if relu else maps
