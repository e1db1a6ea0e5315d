"""What a checkpoint says of the privacy of its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xaicli.files.checkpoint import CheckpointMeta
from xaicli.train.canaries import Canaries
from xaicli.train.private.budget import Budget, bounded
from xaicli.train.private.past import is_imported
from xaicli.train.private.secret import Secret

UNIT = "one image, added or removed"
SAMPLING = "independent Bernoulli"
NOT_COVERED = (
    "the search for hyper-parameters",
    "other models trained on the same images",
    "mean and deviation of the pixels",
    "figures of held-out images",
    "number and digest of the training images",
    "rounding of floating-point numbers",
)
THRESHOLD = "the threshold of the detector, which private held-out images set"


def privacy_record(
    budget: Budget, secret: Secret, replaced: Sequence[str], canaries: Canaries | None, source: CheckpointMeta | None
) -> dict[str, Any]:
    """The checkpoint's `privacy` (SPEC 4) after all steps of the budget; epsilon is None where there is no bound.

    replaced: the BatchNorms that became GroupNorms. source: of the checkpoint that the training started from.
    """
    unknown = ("what imported weights were trained on",) if source is not None and is_imported(source) else ()
    return {
        "epsilon": bounded(budget.epsilon),
        "delta": budget.delta,
        "target_epsilon": budget.target,
        "noise_multiplier": budget.noise_multiplier,
        "max_grad_norm": budget.max_grad_norm,
        "sample_rate": budget.sample_rate,
        "steps": budget.steps,
        "accountant": budget.accountant,
        "unit": UNIT,
        "sampling": SAMPLING,
        "noise": "seeded" if secret.seeded else "secret",
        "ledger": budget.ledger(budget.steps).document(),
        "replaced": list(replaced),
        "not_covered": [*NOT_COVERED, *unknown],
        **({"canaries": len(canaries)} if canaries is not None else {}),
    }
