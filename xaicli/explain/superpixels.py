"""Superpixels: the pieces of an image that are hidden and shown together."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.explain.block import Block
from xaicli.explain.explanation import Figure

Labels = npt.NDArray[np.int64]

SEGMENTS = Figure("<f4", lambda segments: (segments,))
"""One number a superpixel, NaN beyond the image's own number of them."""


def superpixels(block: Block, *, segments: int = 50, algorithm: str = "slic") -> Tensor:
    """The number of the superpixel that each pixel belongs to, int64 [n, H, W]: 0, 1, ... below `segments`."""
    found = [segment(image, segments, algorithm) for image in block.images.double().cpu().numpy()]
    return torch.as_tensor(np.stack(found)).to(block.images.device)


def segment(image: npt.NDArray[np.float64], most: int, algorithm: str) -> Labels:
    """At most `most` connected superpixels of an image [C, H, W], numbered from 0 without gaps, [H, W].

    slic: k-means in colour and place (Achanta et al., 2012), asked for `most`. quickshift: modes of the density, with
    lime's settings; it finds its own number. Colours are CIELAB for three channels, else raw values on its scale.
    """
    from skimage.measure import label  # half a second that only these methods need
    from skimage.segmentation import quickshift, slic

    pixels, colour, area = np.moveaxis(image, 0, -1), len(image) == 3, image[0].size
    if algorithm == "slic":
        # 10 is the paper's weight of place against CIELAB, which goes to 100; other images are scaled to 1.
        # Pieces are merged here: skimage 0.26 makes a single segment of a noisy image when it has to connect them.
        weight = 10 if colour else 0.1
        found = slic(pixels, most, weight, start_label=0, channel_axis=-1, enforce_connectivity=False)
        return merge(label(found, background=-1, connectivity=1), most, area // (2 * most))
    # lime's kernel is meant for images of 299 pixels
    kernel = max(1.0, 4.0 * min(1.0, max(image.shape[1:]) / 299))
    scaled = pixels if colour else pixels * 100
    found = quickshift(scaled, ratio=0.2, kernel_size=kernel, max_dist=200, convert2lab=colour, rng=0)
    return merge(label(found, background=-1, connectivity=1), most)


def merge(labels: npt.NDArray[Any], most: int, least: int = 0) -> Labels:
    """The smallest segment joins the neighbour with which it shares the longest border, again and again.

    Until at most `most` are left and none has less than `least` pixels.
    """
    labels = _numbered(labels)
    sizes = np.bincount(labels.ravel()).tolist()
    borders = _borders(labels, len(sizes))
    owner = np.arange(len(sizes))
    waiting = [(size, number) for number, size in enumerate(sizes)]
    heapify(waiting)
    left = len(sizes)
    while left > 1:
        size, small = heappop(waiting)
        if size != sizes[small]:  # it has grown since, or is gone
            continue
        if left <= most and size >= least:
            break
        into, longest = -1, 0
        for other, length in borders[small].items():
            if length > longest or (length == longest and other < into):
                into, longest = other, length
        joined = borders[into]
        for other, length in borders[small].items():
            theirs = borders[other]
            del theirs[small]
            if other != into:
                joined[other] = theirs[into] = joined.get(other, 0) + length
        owner[small], sizes[small] = into, 0
        sizes[into] += size
        heappush(waiting, (sizes[into], into))
        left -= 1
    while (owner != owner[owner]).any():
        owner = owner[owner]
    return _numbered(owner[labels])


def _numbered(labels: npt.NDArray[Any]) -> Labels:
    """The same segments with the numbers 0, 1, ..."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)


def _borders(labels: Labels, count: int) -> list[dict[int, int]]:
    """How many pixel sides each segment shares with each other one."""
    pairs = []
    for here, there in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        apart = here != there
        one, other = here[apart], there[apart]
        pairs += [one * count + other, other * count + one]
    codes, lengths = np.unique(np.concatenate(pairs), return_counts=True)
    found: list[dict[int, int]] = [{} for _ in range(count)]
    for one, other, length in zip(*(part.tolist() for part in (*divmod(codes, count), lengths)), strict=True):
        found[one][other] = length
    return found


def counts(labels: Tensor) -> list[int]:
    """The number of superpixels of every image."""
    found: list[int] = (labels.flatten(1).amax(1) + 1).tolist()
    return found


def paint(values: Tensor, labels: Tensor) -> Tensor:
    """Every pixel with the value [n, S] of its superpixel, [n, 1, H, W]."""
    return values.gather(1, labels.flatten(1)).view(len(labels), 1, *labels.shape[1:])


def spread(values: Tensor, labels: Tensor) -> Tensor:
    """Every superpixel's value [n, S] in equal parts over its pixels, [n, 1, H, W]: the sums stay the same."""
    sizes = [torch.bincount(row.flatten(), minlength=values.shape[1]) for row in labels]
    return paint(values / torch.stack(sizes), labels)


def padded(values: Sequence[Tensor], segments: int, like: Tensor) -> Tensor:
    """One vector a row, NaN beyond its end: [n, S], float64 where `like` is."""
    found = torch.full((len(values), segments), float("nan"), dtype=torch.float64)
    for row, vector in zip(found, values, strict=True):
        row[: len(vector)] = vector
    return found.to(like.device)


def segment_means(images: Tensor, labels: Tensor) -> Tensor:
    """The images with every superpixel in its mean colour, [n, C, H, W]."""
    means = []
    for image, own in zip(images.cpu(), labels.cpu(), strict=True):  # other devices add in no fixed order
        numbers = own.flatten()
        sizes = torch.bincount(numbers)
        sums = [torch.bincount(numbers, channel.flatten().double()) for channel in image]
        means.append(torch.stack([(total / sizes)[own] for total in sums]))
    return torch.stack(means).to(images)


QUERIES = (superpixels,)
