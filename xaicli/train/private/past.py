"""What the weights that a private training starts from have seen: composed if it was private, refused if it was not."""

from __future__ import annotations

from typing import Any

from xaicli.errors import UsageError
from xaicli.files.checkpoint import CheckpointMeta
from xaicli.train.private.ledger import Ledger


def ledger_of(meta: CheckpointMeta | None, name: str = "") -> Ledger:
    """The ledger of a checkpoint of this name; an empty one where there is none."""
    document = (meta.privacy or {}).get("ledger", ()) if meta is not None else ()
    return Ledger.of_document(document, f"the privacy ledger of '{name}'")


def refuse_known_data(meta: CheckpointMeta, name: str, data: str) -> None:
    """Raise UsageError if weights have learnt from the data with this digest in a way that no ledger accounts for.

    All trainings in the checkpoint's lineage count, for what they left in the weights no later one takes out.
    """
    jobs = [job for job in meta.lineage if job.get("verb") == "train" and _digest(job) == data]
    if any("noise-multiplier" not in (job.get("options") or {}) for job in jobs):
        raise UsageError(
            f"'{name}' was trained on the same data without privacy, and no private training takes that back; "
            "start from other weights, or leave --from out."
        )
    if len(jobs) > len(ledger_of(meta, name).spent(data)):
        raise UsageError(
            f"'{name}' has lost the account of its private training on the same data, because it was trained on "
            "without privacy since; start from the private checkpoint itself."
        )


def is_imported(meta: CheckpointMeta) -> bool:
    """Whether there are weights in it of which nobody here knows what they have seen."""
    return any(job.get("verb") == "import" for job in meta.lineage)


def _digest(job: dict[str, Any]) -> Any:
    return ((job.get("parents") or {}).get("data") or {}).get("digest")
