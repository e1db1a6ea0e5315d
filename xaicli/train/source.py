"""The checkpoint that a training starts from (`--from`): its network, with its head or a fresh one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError, UsageError
from xaicli.files.checkpoint import CheckpointMeta, read_checkpoint
from xaicli.files.sources import gather
from xaicli.models.arch import Arch, arch_from_record, build_network, parse_arch
from xaicli.models.changes import Changes
from xaicli.models.classifier import Classifier
from xaicli.models.head import find_head
from xaicli.models.load import load_classifier, ordinary
from xaicli.models.state import fit_state
from xaicli.run.progress import say


@dataclass(frozen=True, eq=False)
class Source:
    """A checkpoint and its classifier; `id` is the checkpoint's."""

    path: Path
    id: str
    meta: CheckpointMeta
    arch: Arch
    classifier: Classifier

    @property
    def record(self) -> dict[str, Any]:
        """The parent as the new checkpoint's record names it."""
        return {"id": self.id, "path": str(self.path)}

    def check(self, dataset: Dataset) -> None:
        """Raise InputError for images of other channels."""
        if dataset.channels != self.meta.channels:
            raise InputError(
                f"'{self.path.name}' takes images of {self.meta.channels} channels, but these have {dataset.channels}; "
                "name other data."
            )

    def network(self, dataset: Dataset) -> nn.Module:
        """A network with the checkpoint's weights; its last layer is a fresh one unless the data has the same classes.

        Classes are compared by number and name. Fresh weights are drawn from torch's global generator. Raises
        InputError when the network has no last layer to replace, or cannot take images of this size.
        """
        network = build_network(self.arch, len(dataset.classes), dataset.channels, (dataset.height, dataset.width))
        state, fresh = self.classifier.network.state_dict(), network.state_dict()
        if dataset.classes != self.meta.classes:
            say(f"the last layer of '{self.path.name}' begins anew, because the data has other classes.")
            head = f"{find_head(self.classifier.around(ordinary(self.classifier.network))).name}."
            state |= {name: tensor for name, tensor in fresh.items() if name.startswith(head)}
        fit_state(network, state, f"'{self.path}'")
        return network


def read_source(name: str, arch: str | None) -> Source:
    """The checkpoint of this path, or the one on standard input for `-`.

    arch: the command's --arch, which must be the checkpoint's own if it is given; for a user's factory it says where
    the file lies here. Raises UsageError if it is another one, and what reading a checkpoint raises.
    """
    artifacts = gather([name]).of_kind("checkpoint")
    if len(artifacts) != 1:
        raise UsageError(f"--from '{name}' holds {len(artifacts)} checkpoints; name the one to start from.")
    checkpoint = read_checkpoint(artifacts[0].path)
    own = arch_from_record(checkpoint.meta.arch, f"'{checkpoint.path}'", arch)
    if arch is not None and parse_arch(arch).identity != replace(own, changes=Changes()).identity:
        raise UsageError(f"--from '{name}' is of the architecture {own}, not {arch}; leave --arch out.")
    return Source(
        checkpoint.path, checkpoint.id, checkpoint.meta, own, load_classifier(checkpoint, arch=arch, uncertain=True)
    )
