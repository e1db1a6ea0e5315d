"""Where a training's progress lies on disk, when it is saved, and how a wish to stop is granted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from xaicli.errors import ExistsError, InputError, StoppedError, UsageError
from xaicli.files.atomic import sweep
from xaicli.files.resume import Resume, read_resume, resume_path, write_resume
from xaicli.run.progress import say
from xaicli.run.stop import STOP
from xaicli.train.state import Training, random_devices

STEP_SECONDS = 300.0  # within an epoch
EPOCH_SECONDS = 10.0  # at the end of one; what is lost by doing less is less than what more would cost


@dataclass
class Savepoint:
    """The resume file of one training; without a path nothing is kept. `found` is the progress that was there.

    `fixed`: what a training may not choose again, such as the key and the noise of a private one.
    """

    path: Path | None = None
    job_id: str = ""
    found: Resume | None = None
    fixed: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    _saved: float = field(default_factory=lambda: time.monotonic())

    @property
    def epochs_done(self) -> int:
        """Whole epochs that need not be trained again."""
        return int(self.found.state["epoch"]) - 1 if self.found is not None else 0

    def restore(self, training: Training, epochs: int) -> None:
        """Put back what was found in a training of so many epochs.

        If nothing was, what is fixed is saved before it is used: a killed one must not begin again with another key.
        """
        self.epochs = epochs
        if self.found is None:
            if self.fixed:
                self._save(training)
            return
        try:
            training.restore(self.found.state, self.found.tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"no training can go on from '{self.path}' ({error}); remove it to start over.") from None
        self.found = None  # it may be large
        say(f"goes on from '{self.path}' in epoch {min(training.epoch, self.epochs)} of {self.epochs}")

    def at_step(self, training: Training) -> None:
        """To be called between two steps: save every few minutes, and stop if that is wished."""
        if STOP.wanted:
            self._stop(training)
        if time.monotonic() - self._saved >= STEP_SECONDS:
            self._save(training)

    def at_epoch(self, training: Training) -> None:
        """To be called between two epochs."""
        if time.monotonic() - self._saved >= EPOCH_SECONDS:
            self._save(training)

    @contextmanager
    def judging(self, training: Training) -> Iterator[None]:
        """Within, figures are computed that can be computed again: when the time of grace is over they are given up.

        Random numbers drawn within are none of the training's.
        """
        self.at_step(training)
        try:
            with torch.random.fork_rng(random_devices(training.device)), STOP.working():
                yield
        except StoppedError:
            self._stop(training)

    def remove(self) -> None:
        """The training is over."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _save(self, training: Training) -> None:
        if self.path is not None:
            state, tensors = training.capture()
            write_resume(self.path, Resume(self.job_id, {**state, "fixed": self.fixed}, tensors))
        self._saved = time.monotonic()

    def _stop(self, training: Training) -> NoReturn:
        self._save(training)
        where = f"in epoch {training.epoch} of {self.epochs}" if training.epoch <= self.epochs else "after all epochs"
        raise STOP.error(f"{where}, with the progress saved in '{self.path}'")


def find_savepoint(checkpoint: Path, job_id: str, *, force: bool) -> Savepoint:
    """The savepoint of the training that makes this checkpoint, with the progress that an earlier run has left.

    force: pass over the progress of another job and damaged files. Raises ExistsError and InputError for them if not.
    """
    path = resume_path(checkpoint)
    if path == checkpoint:
        raise UsageError(f"'{path}' is a name for the progress of a training; name the checkpoint .safetensors.")
    try:
        found = read_resume(path)
    except InputError:
        if not force:
            raise
        found = None
    if found is not None and found.job_id != job_id:
        if not force:
            raise ExistsError(
                f"'{path}' holds the progress of another training; finish that one, choose another -o, "
                "or add --force to discard it."
            )
        found = None
    return Savepoint(path, job_id, found, dict(found.state.get("fixed", {})) if found is not None else {})


def clear_away(checkpoint: Path) -> None:
    """Remove the temporary files of killed trainings."""
    for path in (checkpoint, resume_path(checkpoint)):
        sweep(path)
