"""`--download`: a missing data set is fetched by torchvision; nothing else in the house uses the network."""

from __future__ import annotations

from pathlib import Path

from xaicli.errors import UnavailableError

CLASSES = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "flowers102": "Flowers102",
}
"""The classes of torchvision.datasets that know where these data sets are to be had, and their checksums."""


def fetch(name: str, root: Path) -> None:
    """Put a data set below `root`, in torchvision's own folders. Raises UnavailableError if that fails."""
    from torchvision import datasets

    kind = getattr(datasets, CLASSES[name])
    try:
        if name.startswith("cifar"):
            # The constructor would go on to load what it fetched with pickle, which is never done here.
            bare = kind.__new__(kind)
            bare.root = str(root)
            bare.download()
        else:
            kind(str(root), download=True)
    except Exception as error:  # the network, the server, the disk and the archive each have their own
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UnavailableError(
            f"'{name}' could not be downloaded ({reason.rstrip('.:')}); fetch it where there is a network, and say "
            "where it lies with --data-root."
        ) from None
