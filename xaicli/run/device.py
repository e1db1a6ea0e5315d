"""Where the work runs: device, threads, and what to say when memory does not suffice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xaicli.errors import UnavailableError, UsageError
from xaicli.run.settings import Settings


def prepare(settings: Settings) -> torch.device:
    """Set the number of threads and pick the device; UnavailableError when it is not there."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32: TF32 keeps three digits
    name = settings.device
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device '{name}' is not a device; use auto, cpu, cuda or cuda:1.") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device '{name}' is not supported; use auto, cpu, cuda or cuda:1.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UnavailableError(f"--device '{name}' is not available: this machine has {count} CUDA devices; use cpu.")
    return device


@contextmanager
def memory_guard(batch_size: int) -> Iterator[None]:
    """Turn out-of-memory into one sentence with the batch size to try; it is never changed silently."""
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError) as error:
        raise UnavailableError(_advice(batch_size)) from error
    except RuntimeError as error:
        if "not enough memory" in str(error) or ("alloc" in str(error).lower() and "memory" in str(error).lower()):
            raise UnavailableError(_advice(batch_size)) from error
        raise


def _advice(batch_size: int) -> str:
    if batch_size == 1:
        return "out of memory with one row per model call; use a device with more memory."
    return f"out of memory with --batch-size {batch_size}; try --batch-size {max(batch_size // 2, 1)}."
