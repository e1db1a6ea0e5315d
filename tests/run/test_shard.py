"""Which blocks a shard owns, and how Slurm's variables name it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaicli.errors import UsageError
from xaicli.run.shard import Shard, parse_shard


@given(st.integers(1, 12), st.integers(1, 60))
def test_every_block_has_one_owner(count: int, blocks: int) -> None:
    shards = [Shard(number, count) for number in range(1, count + 1)]
    owners = [[shard.number for shard in shards if shard.owns(block)] for block in range(blocks)]
    assert owners == [[block % count + 1] for block in range(blocks)]


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, Shard(1, 1)),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "8"}, Shard(3, 8)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "10",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_MAX": "13",
                "SLURM_ARRAY_TASK_STEP": "1",
                "SLURM_PROCID": "5",
                "SLURM_NTASKS": "6",
            },
            Shard(1, 4),
        ),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Shard(1, 4)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, Shard(4, 4)),
    ],
)
def test_auto_is_the_place_among_slurm_tasks(environment: dict[str, str], shard: Shard) -> None:
    assert parse_shard("auto", environment) == shard


@pytest.mark.parametrize(
    "environment",
    [
        {
            "SLURM_ARRAY_TASK_ID": "4",
            "SLURM_ARRAY_TASK_MIN": "0",
            "SLURM_ARRAY_TASK_MAX": "8",
            "SLURM_ARRAY_TASK_STEP": "2",
        },
        {"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "8"},
        {"SLURM_PROCID": "4", "SLURM_NTASKS": "4"},
        {"SLURM_PROCID": "4"},
    ],
)
def test_auto_refuses_what_it_cannot_place(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="--shard"):
        parse_shard("auto", environment)


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/4/2", "1 / 4"])
def test_wrong_shards_are_named(text: str) -> None:
    with pytest.raises(UsageError, match="i/N"):
        parse_shard(text, {})


def test_written_as_read() -> None:
    assert str(parse_shard("2/7", {})) == "2/7"
    assert parse_shard("1/1", {}).is_whole and not parse_shard("1/2", {}).is_whole
