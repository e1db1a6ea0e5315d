"""Which blocks this process computes: --shard 2/8, or the place of a Slurm task among the others."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from xaicli.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Number `number` (from 1) of `count`: blocks number-1, number-1+count, ..."""

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def is_whole(self) -> bool:
        """Whether there is only one shard, which then also merges."""
        return self.count == 1

    def owns(self, block: int) -> bool:
        """Whether this process computes the block."""
        return block % self.count == self.number - 1


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """`i/N` with 1 <= i <= N, or `auto`: the task of a Slurm array, else of a Slurm step, else 1/1."""
    if text == "auto":
        return _slurm_shard(environment)
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard '{text}' is not i/N with i from 1 to N; use 1/4, 2/4, ... or auto.")
    return Shard(int(match[1]), int(match[2]))


def _slurm_shard(environment: Mapping[str, str]) -> Shard:
    if "SLURM_ARRAY_TASK_ID" in environment:
        task, first, last, step = (
            _number(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX", "STEP")
        )
        if step != 1 or not first <= task <= last:
            raise UsageError("--shard auto needs an array with step 1, such as --array=1-8; or say --shard i/N.")
        return Shard(task - first + 1, last - first + 1)
    if "SLURM_PROCID" in environment:
        number, count = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_NTASKS")
        if not 0 <= number < count:
            raise UsageError(f"--shard auto found SLURM_PROCID={number} of SLURM_NTASKS={count}; say --shard i/N.")
        return Shard(number + 1, count)
    return Shard()


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "1" if name.endswith("STEP") else "")
    if not text.isdecimal():
        raise UsageError(f"--shard auto found {name}='{text}', which is not a number; say --shard i/N.")
    return int(text)
