"""Layers that keep their weights while the others learn (`--freeze`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn.modules.batchnorm import _BatchNorm

from xaicli.errors import UsageError, nearest
from xaicli.models.classifier import Classifier
from xaicli.models.head import find_head
from xaicli.models.load import ordinary
from xaicli.run.calls import evaluating

BODY = "body"
"""Everything but the last layer."""


def freeze(classifier: Classifier, names: Sequence[str]) -> None:
    """Keep the weights of these layers of the network, and their BatchNorms in evaluation mode from now on.

    names: of modules, each with all that is below it, or `body`. Raises UsageError for a name that the network does not
    have and when nothing is left to train; InputError for `body` in a network that does not end in a linear layer.
    """
    network = classifier.network
    known = [name for name, _ in network.named_modules() if name]
    for name in names:
        if name not in (BODY, *known):
            raise UsageError(
                f"--freeze '{name}' is no layer of the network.{nearest(name, known)} It has {', '.join(known[:8])}"
                f"{', ...' if len(known) > 8 else ''}, and {BODY} is all but the last."
            )
    with evaluating(classifier):
        head = find_head(classifier.around(ordinary(network))).name if BODY in names else ""

    def frozen(path: str) -> bool:
        below = any(path == name or path.startswith(f"{name}.") for name in names if name != BODY)
        return below or (bool(head) and path != head and not path.startswith(f"{head}."))

    for path, parameter in network.named_parameters():
        if frozen(path):
            parameter.requires_grad_(False)
    classifier.still = tuple(
        module for path, module in network.named_modules() if isinstance(module, _BatchNorm) and frozen(path)
    )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UsageError(f"--freeze {','.join(names)} leaves nothing to train; freeze fewer layers.")
