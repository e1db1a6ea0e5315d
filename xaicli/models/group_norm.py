"""BatchNorm replaced by GroupNorm, for trainings in which no image may change what another one is mapped to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from xaicli.errors import InputError

MOST_GROUPS = 16  # as in De et al. (2022)
LEAST_CHANNELS = 4  # of a group: one channel alone would be constant wherever its map is a single place

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def group_norms(network: nn.Module, keep: Callable[[str], bool] = lambda name: False) -> list[str]:
    """Replace BatchNorms, in place, by GroupNorms with the same affine parameters; returns their names in order.

    keep: whether to leave the BatchNorm of this name as it is. Pretrained statistics are lost. A module used in several
    places is replaced by one, under its first name. Raises InputError, with nothing changed, for a kind of BatchNorm
    that does more than normalise.
    """
    chosen = [(name, norm) for name, norm in network.named_modules() if isinstance(norm, _BatchNorm) and not keep(name)]
    return _replace(network, chosen)


def replay_group_norms(network: nn.Module, names: Iterable[str], what: str) -> None:
    """Replace, in place, the BatchNorms of these names, as `group_norms` has once.

    what: the checkpoint's name, for the InputError about a name that is none of a BatchNorm.
    """
    norms = {name: norm for name, norm in network.named_modules() if isinstance(norm, _BatchNorm)}
    for name in names:
        if name not in norms:
            raise InputError(f"{what} says that its norm '{name}' was replaced, but it has none; write the file again.")
    _replace(network, [(name, norms[name]) for name in names])


def groups_of(channels: int) -> int:
    """The largest number of equal groups that is at most 16 and leaves at least 4 channels in each, or 1."""
    return max(
        g for g in range(1, MOST_GROUPS + 1) if channels % g == 0 and (g == 1 or channels // g >= LEAST_CHANNELS)
    )


def _replace(network: nn.Module, chosen: list[tuple[str, _BatchNorm]]) -> list[str]:
    for name, norm in chosen:
        if type(norm) not in _KINDS and not _is_followed(norm):
            raise InputError(
                f"the BatchNorm '{name}' is of the kind {type(norm).__name__}, which no GroupNorm can replace; "
                "use an architecture with torch's own BatchNorms."
            )
    twins: dict[nn.Module, nn.Module] = {norm: _group_norm(norm) for _, norm in chosen}
    for owner in list(network.modules()):
        for child, module in list(owner._modules.items()):  # also the second name of a module that has two
            if module in twins:
                setattr(owner, child, twins[module])
    return [name for name, _ in chosen]


def _group_norm(norm: _BatchNorm) -> nn.Module:
    group = nn.GroupNorm(groups_of(norm.num_features), norm.num_features, norm.eps, affine=False)
    group.affine = norm.affine
    group.weight, group.bias = norm.weight, norm.bias
    parts = OrderedDict(norm=group, **dict(norm.named_children()))
    return (nn.Sequential(parts) if _is_followed(norm) else group).train(norm.training)


def _is_followed(norm: _BatchNorm) -> bool:
    """Of timm's BatchNorms with an activation behind them."""
    return type(norm).__name__ == "BatchNormAct2d" and [name for name, _ in norm.named_children()] == ["drop", "act"]
