"""A checkpoint as a classifier that is ready to be asked."""

from __future__ import annotations

import os
from itertools import chain

import torch
from torch import nn

from xaicli.errors import InputError, UsageError
from xaicli.files.checkpoint import Checkpoint, CheckpointMeta, read_checkpoint
from xaicli.models.arch import Arch, arch_from_record, build_network
from xaicli.models.bayesian import plain
from xaicli.models.classifier import Classifier
from xaicli.models.dropout import dropping_layers, thinned
from xaicli.models.mean_field import Noise, mean_field_layers
from xaicli.models.state import PREFIX, fit_state, network_state

OWN_PREFIX = "xaicli."
"""What the names of a checkpoint's other arrays begin with, such as detector statistics."""


def load_checkpoint(path: str | os.PathLike[str], *, device: str = "cpu") -> Classifier:
    """The classifier in a checkpoint, for notebooks: a torch module from pixels in [0, 1] to logits.

    It is in evaluation mode with frozen parameters; `classifier.meta` is its metadata, `classifier.network` the network
    without normalisation.
    """
    return load_classifier(path, device=device)


def load_classifier(
    checkpoint: Checkpoint | str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    arch: str | None = None,
    uncertain: bool = False,
) -> Classifier:
    """The classifier in a checkpoint, in evaluation mode, its parameters without gradients.

    arch: the command's --arch, needed for a user's factory whose file has moved. uncertain: leave the network what its
    posterior is drawn from, that is distributions of weights or dropout; without it, it comes as an ordinary one, with
    the means for weights and with all units. An ensemble is one in either case. Raises what `read_checkpoint` raises,
    InputError when the tensors do not fit the architecture, and RefusedError when its file is not to be trusted. The
    global random generator is left as it was.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = read_checkpoint(checkpoint)
    meta, what = checkpoint.meta, f"'{checkpoint.path}'"
    strangers = [name for name in checkpoint.tensors if not name.startswith((PREFIX, OWN_PREFIX))]
    if strangers:
        raise InputError(
            f"{what} holds the tensor '{strangers[0]}', which belongs to no part of a model; make it again."
        )
    network = _network(checkpoint, arch_from_record(meta.arch, what, arch), what)
    if not uncertain:
        network = ordinary(network)
    classifier = Classifier(network, meta.mean, meta.std, meta.classes, meta.shape, meta)
    return lay_out(classifier.eval().requires_grad_(False), device)


def ordinary(network: nn.Module, noise: Noise | None = None) -> nn.Module:
    """A network with uncertain weights, or with dropout, as an ordinary one; any other one as it is.

    noise: the numbers of one draw from the posterior; without them it has the means for weights, and all units.
    """
    if mean_field_layers(network):
        return plain(network, noise)
    return thinned(network, noise) if dropping_layers(network) else network


def lay_out(classifier: Classifier, device: torch.device | str) -> Classifier:
    """Move a classifier to its device, the channels of a pixel side by side: convolutions run up to 1.4x faster."""
    return classifier.to(device).to(memory_format=torch.channels_last)


def _network(checkpoint: Checkpoint, arch: Arch, what: str) -> nn.Module:
    """Build the architecture and fill it, believing the file about its size only after comparing every shape.

    On the meta device nothing is allocated: an option such as width=1024 costs nothing until the tensors are there to
    back it. A user's code may not work there, and is trusted.
    """
    meta, state = checkpoint.meta, network_state(checkpoint.tensors)
    skeleton = _skeleton(arch, meta) if arch.factory is None else None
    if skeleton is not None:
        fit_state(skeleton, state, what, assign=True)
        if not any(tensor.is_meta for tensor in chain(skeleton.parameters(), skeleton.buffers())):
            return skeleton
    try:  # a factory, or a model that computes with its parameters or buffers while it is built
        with torch.random.fork_rng(devices=[]):
            network = _build(arch, meta)
    except UsageError as error:
        raise InputError(f"{what} describes a network that cannot be built: {error}") from None
    fit_state(network, state, what)
    return network


def _skeleton(arch: Arch, meta: CheckpointMeta) -> nn.Module | None:
    try:
        with torch.device("meta"):
            return _build(arch, meta)
    except UsageError:  # either the meta device is to blame, or building in earnest says it again
        return None


def _build(arch: Arch, meta: CheckpointMeta) -> nn.Module:
    return build_network(arch, len(meta.classes), meta.channels, (meta.shape[1], meta.shape[2]))
