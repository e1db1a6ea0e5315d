"""Shards, stops and merges through the command line: no row is lost, and no byte tells how the work was cut."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.interruptions import commands, run_killed, run_shards, run_whole, start_eager

ROWS = 60
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # as in this process


@pytest.fixture
def checkpoint(files: Any) -> Path:
    path: Path = files.checkpoint
    return path


@pytest.fixture
def run(call: Any) -> Any:
    def checked(*arguments: str) -> None:
        said = call(*arguments)
        assert said.code == 0, said.err

    return checked


@pytest.fixture
def jobs(run: Any, checkpoint: Path, tmp_path: Path) -> dict[str, list[str]]:
    run("explain", checkpoint, "-m", "gradcam", "-m", "saliency", "-n", str(ROWS), "-o", f"{tmp_path}/maps/", "-q")
    return commands(checkpoint, sorted((tmp_path / "maps").iterdir()), ROWS)


@pytest.mark.parametrize("verb", ["attack", "explain", "evaluate", "generate"])
def test_shards_merge_to_the_bytes_of_one_process(verb: str, jobs: Any, run: Any, tmp_path: Path) -> None:
    whole, three = tmp_path / "whole", tmp_path / "three"
    whole.mkdir(), three.mkdir()
    expected = run_whole(run, jobs[verb], whole)
    assert run_shards(run, jobs[verb], three, 3) == expected
    assert all(name.endswith(".h5") for name in expected)


@pytest.mark.command
@pytest.mark.parametrize("verb", ["explain", "evaluate"])
def test_killed_shards_are_finished_under_another_number(verb: str, jobs: Any, run: Any, tmp_path: Path) -> None:
    whole, seven = tmp_path / "whole", tmp_path / "seven"
    whole.mkdir(), seven.mkdir()
    expected = run_whole(run, jobs[verb], whole)
    assert run_killed(run, jobs[verb], seven, seed=1, killed=1, env=ONE_THREAD) == expected


def test_merge_prints_the_metrics_of_the_whole_job(jobs: Any, call: Any, run: Any, tmp_path: Path) -> None:
    whole = call(*jobs["evaluate"], "-o", str(tmp_path / "whole.h5"))
    for number in (2, 1):
        part = call(*jobs["evaluate"], "-o", str(tmp_path / "parts.h5"), "--shard", f"{number}/2")
        assert (part.code, part.out) == (0, "")
    merged = call("store", "merge", str(tmp_path / "parts.h5"))
    figures = [
        [record.get(name) for name in ("metric", "method", "value", "low", "high", "n")] for record in whole.records
    ]
    assert [[r.get(n) for n in ("metric", "method", "value", "low", "high", "n")] for r in merged.records] == figures
    assert merged.records[0]["id"] == whole.records[0]["id"]
    again = call("store", "merge", str(tmp_path / "parts.h5"))
    assert (again.code, again.out) == (0, merged.out)


@pytest.mark.parametrize("verb", ["attack", "explain", "generate"])
def test_merge_prints_the_record_of_the_whole_job(verb: str, jobs: Any, call: Any, run: Any, tmp_path: Path) -> None:
    whole = call(*jobs[verb], "-o", f"{tmp_path}/a/").records
    for number in (1, 2):
        run(*jobs[verb], "-o", f"{tmp_path}/b/", "--shard", f"{number}/2")
    merged = call("store", "merge", str(tmp_path / "b")).records
    key = "id"
    for ours, theirs in zip(sorted(merged, key=lambda r: r[key]), sorted(whole, key=lambda r: r[key]), strict=True):
        assert {**ours, "path": "", "parents": ""} == {**theirs, "path": "", "parents": ""}
        assert ours["parents"]["checkpoint"]["id"] == theirs["parents"]["checkpoint"]["id"]


def test_merge_refuses_gaps_and_lists_them(jobs: Any, call: Any, run: Any, tmp_path: Path) -> None:
    out = tmp_path / "maps.h5"
    command = ["explain", jobs["explain"][1], "-m", "saliency", "-n", str(ROWS), "--block", "8", "-o", str(out)]
    run(*command, "--shard", "2/3")
    said = call("store", "merge", f"{out}.parts")
    assert said.code == 65
    assert "5 of 8 blocks" in said.err and "(0, 2-3, 5-6)" in said.err
    left = call(*command, "--dry-run").record
    assert (left["blocks"], left["blocks_left"]) == (8, 5)
    assert call(*command, "--dry-run", "--shard", "2/3").record["blocks_left"] == 0
    run(*command)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["maps", "maps.h5"]


def test_merge_of_nothing_is_missing(call: Any, tmp_path: Path) -> None:
    assert call("store", "merge", str(tmp_path)).code == 66
    assert call("store", "merge", str(tmp_path / "a.h5")).code == 66


def test_foreign_parts_are_in_the_way(jobs: Any, call: Any, run: Any, tmp_path: Path) -> None:
    out = str(tmp_path / "x.h5")
    command = ["explain", jobs["explain"][1], "-n", "16", "--block", "8", "-o", out]
    run(*command, "-m", "saliency", "--shard", "1/2")
    assert call(*command, "-m", "gradcam").code == 73
    run(*command, "-m", "gradcam", "--force")
    run(*command, "-m", "saliency", "--shard", "1/2", "--force")
    run(*command, "-m", "saliency", "--shard", "2/2", "--force")
    assert call("store", "merge", out).code == 73
    assert call("store", "merge", out, "--force").record["method"] == "saliency"


def test_shards_are_refused_where_they_make_no_sense(call: Any, checkpoint: Path) -> None:
    assert call("explain", checkpoint, "-m", "saliency", "-o", "-", "--shard", "1/2").code == 2
    assert call("explain", checkpoint, "-m", "saliency", "--shard", "3/2").code == 2
    assert call("explain", checkpoint, "-m", "saliency", "--max-time", "soon").code == 2


def test_time_that_is_up_saves_the_blocks(jobs: Any, call: Any, run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Each run gets the time of a block or two; the same command again and again ends with the whole store."""
    import xaicli.run.blocks as blocks

    command, out = [*jobs["explain"][:4], "-n", str(ROWS), "--block", "8", "-q"], tmp_path / "slow.h5"
    run(*command, "-o", str(tmp_path / "whole.h5"))
    take = blocks.Output.take

    def slow(self: Any, *arguments: Any) -> None:
        take(self, *arguments)
        time.sleep(0.1)

    monkeypatch.setattr(blocks.Output, "take", slow)
    codes = []
    while not codes or codes[-1] == 75:
        said = call(*command, "-o", str(out), "--max-time", "0.3")
        codes.append(said.code)
        if said.code:
            assert said.out == "" and "because the time is up" in said.err and "blocks are left" in said.err
    assert codes[-1] == 0 and len(codes) > 2
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.command
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 75)])
def test_signal_saves_the_blocks(number: int, code: int, jobs: Any, run: Any, tmp_path: Path) -> None:
    command = ["explain", jobs["explain"][1], "-m", "ig:steps=64", "-n", "200", "--block", "8", "--threads", "1", "-q"]
    parts = tmp_path / "x.h5.parts"
    process = start_eager([*command, "-o", str(tmp_path / "x.h5")], env=ONE_THREAD)
    while process.poll() is None and not list(parts.glob("[!.]*")):
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == code
    saved = len(list(parts.glob("[!.]*")))
    assert 0 < saved < 25 and not list(parts.glob(".*"))
    run(*command, "-o", str(tmp_path / "x.h5"))
    run(*command, "-o", str(tmp_path / "whole.h5"))
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_two_writers_of_one_job_make_one_store(jobs: Any, run: Any, start: Any, tmp_path: Path) -> None:
    command = ["explain", jobs["explain"][1], "-m", "ig:steps=16", "-n", "100", "--block", "8", "-q"]
    run(*command, "-o", str(tmp_path / "alone.h5"))
    out = str(tmp_path / "x.h5")
    both = [start(*command, "-o", out) for _ in range(2)]
    for process in both:
        said, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert json.loads(said)["path"] == out
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "alone.h5").read_bytes()
    assert not list(tmp_path.glob("x.h5.parts"))
