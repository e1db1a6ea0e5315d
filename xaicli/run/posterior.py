"""What an uncertain checkpoint stands for: a distribution over ordinary classifiers, of which a run draws some.

Three kinds of checkpoints have one, and name it in their metadata: Gaussian weights (`mean-field`), units dropped by
chance (`mc-dropout`), and several networks (`ensemble`), whose draws are its members.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from xaicli.errors import InputError, UsageError
from xaicli.files.checkpoint import Checkpoint, read_checkpoint
from xaicli.files.checkpoint_meta import CheckpointMeta
from xaicli.models.changes import MOST_MEMBERS
from xaicli.models.classifier import Classifier
from xaicli.models.ensemble import Ensemble
from xaicli.models.load import lay_out, load_classifier, ordinary
from xaicli.models.mean_field import Noise
from xaicli.run.calls import Calls
from xaicli.run.random import Stream
from xaicli.run.settings import Settings

DRAWS = 20
"""Networks drawn from a posterior unless asked otherwise; by chance, their mean errs 4.5 times less than one."""
STREAM = "posterior"
ENSEMBLE = "ensemble"
KINDS = ("mean-field", "mc-dropout", ENSEMBLE)


def usual_draws(meta: CheckpointMeta) -> int:
    """How many networks a run draws: 0 of an ordinary checkpoint, an ensemble's all, 20 of any other uncertain one."""
    if meta.posterior is None:
        return 0
    kind, members = meta.posterior.get("kind"), meta.posterior.get("members")
    if kind in KINDS and kind != ENSEMBLE:
        return DRAWS
    if kind == ENSEMBLE and type(members) is int and 1 <= members <= MOST_MEMBERS:
        return members
    raise InputError(
        f"the checkpoint has a posterior of a kind that this version of xaicli does not know ({kind}, {members}); "
        "use the version that wrote it."
    )


def open_calls(
    checkpoint: Checkpoint | str | os.PathLike[str],
    *,
    device: torch.device | str,
    settings: Settings,
    draws: int | None = None,
    stream: str = STREAM,
) -> Calls:
    """The classifier of a checkpoint, ready to be asked: of an uncertain one, the mean prediction of its draws.

    draws: how many, `usual_draws` if None; 0 is one plain function, of the means, with nothing dropped, or of all
    members of an ensemble. They belong to the seed of the settings and to the stream. Raises UsageError for draws from
    an ordinary checkpoint, or more than an ensemble has, and what `load_classifier` raises.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = read_checkpoint(checkpoint)
    usual = usual_draws(checkpoint.meta)
    number = usual if draws is None else draws
    if number and not usual:
        raise UsageError(f"'{checkpoint.path.name}' is one network, of which nothing can be drawn; leave draws out.")
    classifier = load_classifier(checkpoint, device=device, arch=settings.arch, uncertain=number > 0)
    if number:
        classifier = lay_out(averaged(classifier, settings.seed, number, stream), device)
    return Calls(classifier, batch_size=settings.call_rows)


def averaged(classifier: Classifier, seed: int, draws: int, stream: str = STREAM) -> Classifier:
    """Draws 0, 1, ... as one classifier, whose probabilities are the mean of theirs. Raises as `posterior_draw`."""
    return classifier.around(Ensemble(posterior_draw(classifier, seed, draw, stream).network for draw in range(draws)))


def posterior_draw(classifier: Classifier, seed: int, draw: int, stream: str = STREAM) -> Classifier:
    """An ordinary classifier from the posterior: draw 0, 1, ... of the stream, or an ensemble's member of that number.

    Its weights depend on seed, stream, draw and layer alone. All images share them, so that every answer of a draw,
    whichever method asked and in however large batches, is one function's; two draws are two independent ones. Raises
    UsageError for a member that an ensemble does not have, and InputError for a network without a posterior.
    """
    network = classifier.network
    if isinstance(network, Ensemble):
        if draw >= len(network.networks):
            raise UsageError(f"the ensemble has {len(network.networks)} networks; draw at most as many.")
        return classifier.around(network.networks[draw])
    drawn = ordinary(network, noise_of(Stream(seed, stream, (draw,)), classifier.mean))
    if drawn is network:
        raise InputError("the checkpoint promises a posterior, but nothing in it can be drawn; write the file again.")
    return classifier.around(drawn)


def noise_of(stream: Stream, like: Tensor) -> Noise:
    """Numbers of this stream, one set for each of its rows, with the device and type of a tensor."""

    def noise(name: str, shape: Sequence[int]) -> Tensor:
        return torch.as_tensor(stream.fork(name).normal(shape)).to(like)

    return noise
