"""What a network has to give up for private training: whatever mixes the images of a batch, and chance of its own."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from xaicli.errors import InputError, UsageError
from xaicli.models.classifier import Classifier
from xaicli.models.group_norm import group_norms
from xaicli.run.progress import say, warn

_SHOWN = 3


def unmix(classifier: Classifier, *, pretrained: bool) -> list[str]:
    """Replace every BatchNorm that is not frozen by a GroupNorm and say so; returns their names.

    pretrained: whether they have statistics to lose. Raises UsageError for a BatchNorm that cannot be replaced.
    """
    still = {id(module) for module in classifier.still}
    modules = dict(classifier.network.named_modules())
    try:
        replaced = group_norms(classifier.network, lambda name: id(modules[name]) in still)
    except InputError as error:
        raise UsageError(f"private training cannot use BatchNorm, which mixes the images of a batch: {error}") from None
    if replaced:
        lost = "their pretrained statistics are lost" if pretrained else "it would mix the images of a batch"
        warn(f"BatchNorm became GroupNorm in {_listed(replaced)}: {lost}.")
    if left_out := random_parts(classifier.network):
        say(f"private training leaves out what is random in {_listed(left_out)}.")
    return replaced


def random_parts(network: nn.Module) -> list[str]:
    """The names of modules that drop parts of what passes through them in training."""
    return [name for name, module in network.named_modules() if _chance(module) > 0]


def _chance(module: nn.Module) -> float:
    if isinstance(module, _DropoutNd):
        return float(module.p)
    if isinstance(module, nn.MultiheadAttention):
        return float(module.dropout)
    if type(module).__name__ in ("StochasticDepth", "DropPath"):  # torchvision's and timm's
        return float(getattr(module, "p", None) or getattr(module, "drop_prob", None) or 0)
    return 0.0


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more layers" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
