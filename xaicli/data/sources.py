"""The names of all data sets, apart from what opens them: help texts read them without numpy."""

from __future__ import annotations

SOURCES = {
    "digits": "scikit-learn's 1,797 real handwritten digits, 1x32x32; needs no file",
    "shapes": "ten classes of drawn objects with exact masks and distractors, 3x32x32 or any other size; needs no file",
    "noise": "1,000 images of uniform noise without any class, 3x32x32 or any other size; needs no file",
    "mnist": "70,000 handwritten digits, 1x28x28, in IDX files",
    "fashion-mnist": "70,000 articles of clothing, 1x28x28, in IDX files",
    "cifar10": "60,000 images of ten classes, 3x32x32, the binary or the Python version",
    "cifar100": "60,000 images of a hundred classes, 3x32x32, the binary or the Python version",
    "flowers102": "8,189 photographs of 102 kinds of flowers, 3x224x224 or any other size",
    "imagenet": "ImageNet's folders `train` and `val` of synsets, 3x224x224 or any other size",
    "folder:PATH": "your own images, one folder per class; below `train` and `test` (or `val`) if these are there",
}


def list_sources() -> list[tuple[str, str]]:
    """Names and one-line descriptions, for help texts."""
    return list(SOURCES.items())
