"""Random byte flips: whatever changes what a reader sees is found by `store verify`.

`python -m tests.files.flips --count 1000` flips that many bytes in one file of every kind, made for it, or in the files
named, and prints what became of them. The tests do the same with fewer.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors import safe_open

from xaicli.errors import InputError, RefusedError
from xaicli.files.artifact import identify
from xaicli.files.checkpoint import read_checkpoint
from xaicli.files.signature import signature
from xaicli.files.store import open_store

COMMANDS = {
    "checkpoint": ("train", "--data", "digits", "--arch", "cnn:width=4", "--epochs", "1"),
    "images": ("attack", "{checkpoint}", "-a", "fgsm", "-n", "8"),
    "attributions": ("explain", "{checkpoint}", "-m", "saliency", "-n", "8"),
    "scores": ("evaluate", "{attributions}", "-k", "deletion:steps=4", "-n", "8"),
}
HANG_SECONDS = 10


@dataclass(frozen=True)
class Flip:
    """One changed byte and what became of it: "found" by verify, "unseen" by every reader, or what went wrong."""

    position: int
    pattern: int
    outcome: str


def verify(path: Path) -> None:
    """What `xaicli store verify` does to one file."""
    if identify(path).kind == "checkpoint":
        read_checkpoint(path)
    else:
        with open_store(path) as store:
            store.verify()


def seen(path: Path) -> dict[str, Any]:
    """Everything that can be read from a file: by xaicli, and by the format's own library, which checks nothing."""
    if signature(path) == "checkpoint":
        checkpoint = read_checkpoint(path)
        with safe_open(path, framework="numpy") as file:
            raw = {name: _plain(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118, it is no dict
            metadata = file.metadata()
        ours = {name: _plain(tensor) for name, tensor in checkpoint.tensors.items()}
        return {"id": None, "meta": checkpoint.meta, "tensors": ours, "raw": raw, "metadata": metadata}
    with open_store(path) as store:
        plain = (store.id, store.kind, store.rows, store.job_id, store.job, store.history, store.attributes)
        parts = {**store.curves(), **store.aggregates()} | {name: store[name] for name in store.columns}
        looks = {name: _plain(store.column(name)) for name in store.columns}
        ours = {name: _plain(value) for name, value in parts.items()}
        sources = store.sources
    with h5py.File(path, "r") as file:
        objects: dict[str, Any] = {"": file}
        file.visititems(objects.__setitem__)
        raw = {name: _object(item) for name, item in objects.items()}
    return {"plain": plain, "ours": ours, "looks": looks, "sources": sources, "raw": raw}


def flips(path: Path, folder: Path, count: int, seed: int) -> Iterator[Flip]:
    """Flip random bytes of a copy one by one; every second one is in use (most of a small file are HDF5's zeros).

    Each is looked at in a process of its own, because libraries in C could crash or hang.
    """
    generator = random.Random(seed)
    data, expected = path.read_bytes(), seen(path)
    used = [position for position, byte in enumerate(data) if byte]
    damaged = folder / f"damaged{path.suffix}"
    for number in range(count):
        position = generator.randrange(len(data)) if number % 2 else generator.choice(used)
        pattern = generator.randrange(1, 256)
        damaged.write_bytes(data[:position] + bytes([data[position] ^ pattern]) + data[position + 1 :])
        yield Flip(position, pattern, _isolated(damaged, expected))


def _isolated(path: Path, expected: dict[str, Any]) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(HANG_SECONDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.write(writer, _outcome(path, expected).encode()[:4000])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as said:
        outcome = said.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return outcome or f"ended by signal {os.WTERMSIG(status)}"


def _outcome(path: Path, expected: dict[str, Any]) -> str:
    try:
        verify(path)
    except (InputError, RefusedError):
        return "found"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    found = seen(path)
    different = [part for part in expected if found[part] != expected[part]]
    return f"unnoticed in {', '.join(different)}" if different else "unseen"


def _object(item: Any) -> tuple[Any, ...]:
    attributes = {name: _plain(value) for name, value in item.attrs.items()}
    if isinstance(item, h5py.Group):
        return (attributes, list(item))
    # Not what stands in rows that were never written, and how far a dataset could grow: ours are complete.
    kind = (h5py.check_string_dtype(item.dtype), h5py.check_enum_dtype(item.dtype))
    return (attributes, kind, item.chunks, _plain(item[()]))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return (value.dtype.str, value.shape, value.tolist() if value.dtype.kind == "O" else value.tobytes())
    return value


def _make(folder: Path) -> dict[str, Path]:
    from tests.conftest import run_here

    made: dict[str, Path] = {}
    for kind, command in COMMANDS.items():
        made[kind] = folder / f"{kind}{'.safetensors' if kind == 'checkpoint' else '.h5'}"
        said = run_here(*(word.format_map(made) for word in command), "-o", made[kind])
        if said.code:
            sys.exit(said.err)
    return made


def main() -> int:
    """The full size, by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        made = {path.name: path for path in arguments.files} or _make(Path(name))
        for kind, path in made.items():
            start, tally = time.monotonic(), Counter[str]()
            for flip in flips(path, Path(name), arguments.count, arguments.seed):
                tally[flip.outcome if flip.outcome in ("found", "unseen") else "wrong"] += 1
                if flip.outcome not in ("found", "unseen"):
                    print(f"  byte {flip.position} ^ {flip.pattern:#04x}: {flip.outcome}")
            bad += tally["wrong"]
            size, seconds = path.stat().st_size, time.monotonic() - start
            print(f"{kind}: {size:,} bytes, {dict(sorted(tally.items()))}, {seconds:.0f} s", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
