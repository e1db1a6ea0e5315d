"""The resume file: how far a training has come, in a `.safetensors` beside the checkpoint that it will be.

Like the checkpoint it vouches for every byte it uses; unlike it, it may hold any numbers, and is no artifact.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xaicli.errors import InputError
from xaicli.files.atomic import publish
from xaicli.files.canonical import canonical_json, digest_json, parse_json
from xaicli.files.checkpoint import tensors_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[Any]]

METADATA_KEY = "xaicli-resume"
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Resume:
    """The progress of one job: what fits into JSON in `state`, arrays in `tensors`, writable and the caller's own."""

    job_id: str
    state: dict[str, Any]
    tensors: Tensors


def resume_path(checkpoint: Path) -> Path:
    """Where the progress of the training that makes this checkpoint lies."""
    return checkpoint.with_suffix(".resume")


def write_resume(path: Path, resume: Resume) -> None:
    """Publish a resume file in place of the one before, for its owner only: the state may hold a secret.

    Raises OutputError when the disk refuses.
    """
    import numpy as np
    from safetensors.numpy import save

    arrays = {name: np.asarray(tensor, order="C") for name, tensor in resume.tensors.items()}
    document = {
        "schema": SCHEMA,
        "job_id": resume.job_id,
        "state": resume.state,
        "tensors": tensors_digest(arrays),
    }
    text = canonical_json({**document, "digest": digest_json(document)})
    content: bytes = save(arrays, metadata={METADATA_KEY: text})
    with publish(path) as file:
        if hasattr(os, "fchmod"):  # not on every system
            os.fchmod(file.fileno(), 0o600)
        file.write(content)


def read_resume(path: Path) -> Resume | None:
    """Read and verify a resume file; None if there is none.

    Raises InputError when it is damaged, of another schema or something else.
    """
    from safetensors import safe_open

    if not path.exists():
        return None
    if not path.is_file():  # opening a pipe could block for ever
        raise _unusable(path, "it is not a file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors: Tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except Exception as error:  # the library's own class, and what numpy and the file system raise
        raise _unusable(path, str(error).split("\n")[0]) from None
    if METADATA_KEY not in metadata:
        raise _unusable(path, "it was not written by `xaicli train`")
    document = parse_json(metadata[METADATA_KEY], f"the state in '{path}'")
    seal = document.pop("digest", None) if isinstance(document, dict) else None
    if seal is None or seal != digest_json(document):
        raise _unusable(path, "its state does not match its digest")
    if document.get("schema") != SCHEMA:
        raise _unusable(path, f"it has schema {document.get('schema')!r}, and this xaicli reads {SCHEMA}")
    if document.get("tensors") != tensors_digest(tensors):
        raise _unusable(path, "its tensors do not match their digest")
    return Resume(str(document["job_id"]), dict(document["state"]), tensors)


def _unusable(path: Path, reason: str) -> InputError:
    return InputError(f"no training can go on from '{path}': {reason}; remove it, or add --force, to start over.")
