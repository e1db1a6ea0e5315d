"""A training that is interrupted, however often and wherever, ends with the very checkpoint of one that is not."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from xaicli.errors import ExistsError, InputError, OutputError, StoppedError, UnavailableError, UsageError
from xaicli.files.checkpoint import read_meta
from xaicli.files.resume import Resume, read_resume, write_resume
from xaicli.models.arch import build_network
from xaicli.run.settings import Settings
from xaicli.run.shard import Shard
from xaicli.specs import parse_spec
from xaicli.train import savepoint
from xaicli.train.judge import Judge
from xaicli.train.known import parse_detector
from xaicli.train.run import Request, train
from xaicli.train.watchdog import Watchdog

DROPOUT = """
from torch import nn

def net(num_classes, channels):
    convolution = nn.Conv2d(channels, 4, 5, stride=4)
    return nn.Sequential(convolution, nn.Dropout(0.3), nn.Flatten(), nn.Linear(196, num_classes))
"""
SMALL = "cnn:width=4,depth=3"
DETECTOR = parse_detector("knn:k=3")
STEPS = 3  # of an epoch: 1,293 digits in batches of 431
EPOCHS = 2


def request(recipe: str = "standard", arch: str = SMALL, **changes: Any) -> Request:
    return replace(Request("digits", arch, parse_spec("train", recipe), EPOCHS), **changes)


def run(path: Path, what: Request | None = None, **changes: Any) -> dict[str, Any]:
    settings = replace(Settings(output=str(path), batch_size=431, device="cpu"), **changes)
    (record,) = train(what or request(), settings)
    return record


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(
    params=[
        "standard:ema=0.9,mixup=0.4,schedule=cosine",
        "standard:momentum=0,schedule=constant,label-smoothing=0.1",
        "adversarial:eps=0.1,steps=2",
        "trades:eps=0.1,steps=1,awp=true,ema=0.5",
        "mart:eps=0.1,steps=1,schedule=piecewise",
        "fast:eps=0.1",
        "free:eps=0.1,replays=2",
        "private:noise=seeded,noise-multiplier=1,ema=0.5,accountant=rdp",
        "private:noise=seeded,noise-multiplier=1,norm=l2,eps=0.1,steps=1,multiplicity=2,augment=crop,accountant=rdp",
        "bayesian:ema=0.5,schedule=cosine",
        "mc-dropout:p=0.3",
        "ensemble:k=2,mixup=0.4",
        "dropout",
        "physical",
        "detector",
    ]
)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Request:
    if request.param == "dropout":
        (tmp_path / "net.py").write_text(DROPOUT)
        return Request("digits", f"{tmp_path}/net.py:net", parse_spec("train", "standard"), EPOCHS)
    if request.param == "physical":
        return Request("digits", SMALL, parse_spec("train", "standard:ema=0.5"), EPOCHS, physical_batch=200)
    if request.param == "detector":
        return replace(Request("digits", SMALL, parse_spec("train", "standard"), EPOCHS), detector=DETECTOR)
    return Request("digits", SMALL, parse_spec("train", request.param), EPOCHS)


def test_stopped_at_every_step_it_makes_the_same_checkpoint(
    case: Request, tmp_path: Path, stop_at: Callable[..., None]
) -> None:
    """Each run may take one step, or judge once; the last one finishes."""
    expected = run(tmp_path / "whole.safetensors", case)["id"]
    path, resume = tmp_path / "parts.safetensors", tmp_path / "parts.resume"
    replays: Any = case.recipe.options.get("replays", 1)
    for _ in range(EPOCHS * (STEPS * replays + 1)):
        stop_at(2)
        with pytest.raises(StoppedError):
            run(path, case)
        assert resume.exists() and not path.exists()
    stop_at(3)  # an uncertain one judges twice
    record = run(path, case)
    assert record["id"] == expected == sha256(path)
    assert sorted(entry.suffix for entry in tmp_path.iterdir() if entry.suffix != ".py") == [".safetensors"] * 2


@pytest.mark.parametrize("recipe", ["fast:eps=0.1,ema=0.5", "free:eps=0.1,replays=2"])
def test_what_the_watchdog_puts_back_is_saved(
    recipe: str, tmp_path: Path, stop_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every epoch but the first collapses; the last one begins where the first has ended."""

    def measure(dog: Watchdog, classifier: Any) -> float:
        seen = int(classifier.network.block1.norm.num_batches_tracked)
        return 0.9 if seen <= STEPS * replays else 0.1

    monkeypatch.setattr(Watchdog, "accuracy", measure)
    what = request(recipe, epochs=3)
    replays: Any = what.recipe.options.get("replays", 1)
    stop_at(None)
    path = tmp_path / "parts.safetensors"
    expected = run(tmp_path / "whole.safetensors", what)["id"]
    meta = read_meta(tmp_path / "whole.safetensors")[0]
    assert ["rolled_back" in entry for entry in meta.history] == [False, True, True]
    for _ in range(3 * (STEPS * replays + 1) // 2):
        stop_at(3)
        with pytest.raises(StoppedError):
            run(path, what)
    stop_at(None)
    assert run(path, what)["id"] == expected


def test_every_robust_recipe_writes_its_threat_model(tmp_path: Path, stop_at: Callable[..., None]) -> None:
    stop_at(None)
    for recipe, norm, eps, forwards in (
        ("adversarial:steps=1,awp=true", "linf", 8 / 255, 3),
        ("trades:norm=l2,steps=2", "l2", 0.5, 5),
        ("mart:eps=0.1,steps=1,awp=true", "linf", 0.1, 5),
        ("fast:norm=l2,eps=0.2", "l2", 0.2, 2),
        ("free:replays=2", "linf", 8 / 255, 2),
    ):
        path, what = tmp_path / f"{recipe[:4]}.safetensors", request(recipe, epochs=1)
        said = run(path, what, dry_run=True)
        assert said["forwards"] == 1293 * forwards, recipe
        assert said["steps"] == STEPS * (2 if "free" in recipe else 1)
        run(path, what)
        meta = read_meta(path)[0]
        assert meta.threat == {"norm": norm, "eps": eps}
        assert {"val_robust_accuracy", "test_robust_accuracy"} <= meta.metrics.keys()
        assert ("watched_accuracy" in meta.history[0]) == (recipe[:4] in ("fast", "free"))


def test_dropout_needs_the_generators_state(tmp_path: Path, stop_at: Callable[..., None], monkeypatch: Any) -> None:
    """Without it the test above could not tell."""
    (tmp_path / "net.py").write_text(DROPOUT)
    what = request(arch=f"{tmp_path}/net.py:net")
    whole = run(tmp_path / "whole.safetensors", what)["id"]
    stop_at(3)
    with pytest.raises(StoppedError):
        run(tmp_path / "parts.safetensors", what)
    monkeypatch.setattr("xaicli.train.state._set_random_states", lambda tensors, device: None)
    assert run(tmp_path / "parts.safetensors", what)["id"] != whole


def test_the_error_says_where_it_stopped_and_what_to_do(tmp_path: Path, stop_at: Callable[..., None]) -> None:
    path = tmp_path / "m.safetensors"
    stop_at(6)
    with pytest.raises(StoppedError, match=r"in epoch 2 of 2, with the progress saved in '.*m\.resume'; run the same"):
        run(path)
    stop_at(4)
    with pytest.raises(StoppedError, match="after all epochs, with the progress saved"):
        run(path)


def test_judging_is_given_up_and_done_again(
    case: Request, tmp_path: Path, stop_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of grace ends within each of the three judgements; random numbers drawn in one are lost with it."""
    stop_at(None)
    expected = run(tmp_path / "whole.safetensors", case)["id"]
    path, figures = tmp_path / "parts.safetensors", Judge.figures

    def give_up_at(number: int | None) -> None:
        calls = count(1)

        def judge(self: Judge, classifier: Any) -> dict[str, float]:
            torch.rand(3)
            if next(calls) == number:
                raise StoppedError("grace is over")
            return figures(self, classifier)

        monkeypatch.setattr(Judge, "figures", judge)

    for number, where in ((1, "in epoch 1 of 2"), (2, "in epoch 2 of 2"), (2, "after all epochs")):
        give_up_at(number)
        with pytest.raises(StoppedError, match=where):
            run(path, case)
    give_up_at(None)
    assert run(path, case)["id"] == expected


def test_progress_is_saved_every_epoch_and_every_few_minutes(
    tmp_path: Path, stop_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(None)
    saved: list[tuple[int, int]] = []

    def note(path: Path, resume: Resume) -> None:
        saved.append((resume.state["epoch"], resume.state["step"]))

    monkeypatch.setattr(savepoint, "write_resume", note)
    run(tmp_path / "a.safetensors")
    assert saved == []  # it took no ten seconds
    clock = count(0, 11.0)
    monkeypatch.setattr(savepoint, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    run(tmp_path / "b.safetensors")
    assert saved == [(2, 0), (3, 0)]
    saved.clear()
    clock = count(0, 301.0)
    run(tmp_path / "c.safetensors")
    assert saved == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 0), (2, 1), (2, 2), (2, 3), (3, 0), (3, 0)]


def test_progress_of_another_training_is_in_the_way(tmp_path: Path, stop_at: Callable[..., None]) -> None:
    path, resume = tmp_path / "m.safetensors", tmp_path / "m.resume"
    stop_at(3)
    with pytest.raises(StoppedError):
        run(path)
    before, other = resume.read_bytes(), request("standard:lr=0.05")
    with pytest.raises(ExistsError, match=r"m\.resume' holds the progress of another training; .* --force to discard"):
        run(path, other)
    assert resume.read_bytes() == before
    expected = run(tmp_path / "other.safetensors", other)["id"]
    assert run(path, other, force=True)["id"] == expected
    assert not resume.exists()


def test_force_goes_on_with_its_own_progress(tmp_path: Path, stop_at: Callable[..., None]) -> None:
    """The same command again: here one that replaces the checkpoint of another job."""
    path = tmp_path / "m.safetensors"
    stop_at(None)
    run(path, request("standard:lr=0.05"))
    stop_at(5)
    with pytest.raises(StoppedError):
        run(path, force=True)
    stop_at(2)
    with pytest.raises(StoppedError, match="in epoch 2 of 2"):
        run(path, force=True)


@pytest.mark.parametrize("damage", ["bit", "tensor", "short", "empty", "foreign", "folder"])
def test_damaged_progress_is_65_and_names_the_file(tmp_path: Path, stop_at: Callable[..., None], damage: str) -> None:
    path, resume = tmp_path / "m.safetensors", tmp_path / "m.resume"
    stop_at(3)
    with pytest.raises(StoppedError):
        run(path)
    data = bytearray(resume.read_bytes())
    if damage == "folder":
        resume.unlink()
        resume.mkdir()
    else:
        place = {"bit": data.index(b'sums\\":{\\"loss\\":') + 18, "tensor": len(data) - 9}.get(damage, 0)
        data[place] ^= 1
        length = {"short": len(data) // 2, "empty": 0}.get(damage, len(data))
        resume.write_bytes(data[:length])
    if damage == "foreign":
        from safetensors.numpy import save_file

        save_file({}, resume)
    with pytest.raises(InputError, match=r"m\.resume': .*; remove it, or add --force, to start over\.$"):
        run(path)


def test_progress_that_does_not_fit_is_65(tmp_path: Path, stop_at: Callable[..., None]) -> None:
    """Somebody who recomputes the digests can still not hand over other shapes or none."""
    path, resume = tmp_path / "m.safetensors", tmp_path / "m.resume"
    stop_at(3)
    with pytest.raises(StoppedError):
        run(path)
    found = read_resume(resume)
    assert found is not None
    name = "model.network.fc.weight"
    for tensors in (
        {**found.tensors, name: found.tensors[name][:1]},
        {**found.tensors, name: found.tensors[name].astype("f8")},
        {key: tensor for key, tensor in found.tensors.items() if key != name},
    ):
        write_resume(resume, replace(found, tensors=tensors))
        with pytest.raises(InputError, match="remove it to start over"):
            run(path)
    write_resume(resume, replace(found, state={"epoch": 1}))
    with pytest.raises(InputError, match="remove it to start over"):
        run(path)


def test_progress_left_beside_the_finished_checkpoint_is_removed(tmp_path: Path, stop_at: Callable[..., None]) -> None:
    path, resume = tmp_path / "m.safetensors", tmp_path / "m.resume"
    stop_at(3)
    with pytest.raises(StoppedError):
        run(path)
    left = resume.read_bytes()
    first = run(path)
    resume.write_bytes(left)
    assert run(path) == first
    assert not resume.exists()
    resume.write_bytes(b"of somebody else")
    assert run(path) == first
    assert resume.exists()


def test_a_failed_save_keeps_the_one_before(
    tmp_path: Path, stop_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, resume = tmp_path / "m.safetensors", tmp_path / "m.resume"
    stop_at(3)
    with pytest.raises(StoppedError):
        run(path)
    before = resume.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("xaicli.files.atomic.os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "disk full")))
        stop_at(2)
        with pytest.raises(OutputError, match="disk full"):
            run(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.resume"]
    assert resume.read_bytes() == before


def test_dry_run_says_what_it_takes_and_what_is_left(tmp_path: Path, stop_at: Callable[..., None]) -> None:
    path, robust = tmp_path / "m.safetensors", request("adversarial:steps=2,eps=0.1")
    said = run(path, robust, dry_run=True)
    assert said["kind"] == "info" and list(tmp_path.iterdir()) == []
    expected = {"rows": 1293, "epochs": 2, "steps": 6, "forwards": 2 * 1293 * 3, "epochs_left": 2, "resume": None}
    assert {name: said[name] for name in expected} == expected
    stop_at(6)
    with pytest.raises(StoppedError):
        run(path, robust)
    said = run(path, robust, dry_run=True)
    assert (said["epochs_left"], said["resume"]) == (1, str(tmp_path / "m.resume"))
    stop_at(None)
    run(path, robust)
    said = run(path, robust, dry_run=True)
    assert (said["epochs_left"], said["resume"]) == (0, None)
    assert run(tmp_path / "n.safetensors", dry_run=True)["forwards"] == 2 * 1293


def test_what_training_cannot_do_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train cannot be sharded"):
        run(tmp_path / "m.safetensors", shard=Shard(1, 2))
    with pytest.raises(UsageError, match=r"name the checkpoint \.safetensors"):
        run(tmp_path / "m.resume")


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory: 9 bytes")],
)
def test_out_of_memory_names_the_physical_batch_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def exhausted(*arguments: Any) -> torch.nn.Module:
        network = build_network(*arguments)
        network.register_forward_hook(lambda *_: (_ for _ in ()).throw(error))
        return network

    monkeypatch.setattr("xaicli.train.run.build_network", exhausted)
    with pytest.raises(UnavailableError, match="with --physical-batch 200; try --physical-batch 100") as caught:
        run(tmp_path / "m.safetensors", request(physical_batch=200))
    assert caught.value.exit_code == 69
    with pytest.raises(UnavailableError, match="--physical-batch 431; try --physical-batch 215"):
        run(tmp_path / "m.safetensors")


COMMAND = ("train", "--data", "digits", "--arch", SMALL, "--epochs", "8", "--batch-size", "100", "-o")
EAGER = """
import sys
from xaicli.train import savepoint
savepoint.STEP_SECONDS = 0.0
from xaicli.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@contextmanager
def eager(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real process that saves after every step, and has saved once."""
    command = [sys.executable, "-c", EAGER, *COMMAND, str(path)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as in this process: other numbers of threads add up otherwise
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, env=one_thread) as process:
        while not path.with_suffix(".resume").exists() and process.poll() is None:
            time.sleep(0.005)
        yield process


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, call: Any) -> str:
    return str(call(*COMMAND, tmp_path_factory.mktemp("whole") / "whole.safetensors").record["id"])


@pytest.mark.command
def test_killed_training_goes_on_to_the_same_checkpoint(expected: str, spawn: Any, tmp_path: Path) -> None:
    """It is killed at a moment between 0 and 0.3 s after the first save."""
    path, resume = tmp_path / "m.safetensors", tmp_path / "m.resume"
    with eager(path) as process:
        time.sleep(time.time_ns() % 300 / 1000)
        process.kill()
    assert process.returncode == -signal.SIGKILL and resume.exists() and not path.exists()
    said = spawn(*COMMAND, path)
    assert said.code == 0, said.err
    assert "goes on from" in said.err
    assert said.record["id"] == expected == sha256(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.command
def test_terminated_training_saves_its_progress(expected: str, call: Any, tmp_path: Path) -> None:
    path, resume = tmp_path / "m.safetensors", tmp_path / "m.resume"
    with eager(path) as process:
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert b"stopped by SIGTERM, in epoch" in err and resume.exists() and not path.exists()
    assert call(*COMMAND, path).record["id"] == expected
    assert not resume.exists()


def test_time_that_is_up_saves_the_progress(call: Any, tmp_path: Path) -> None:
    command = (*COMMAND, tmp_path / "m.safetensors", "--epochs", "500")
    said = call(*command, "--max-time", "1s")
    assert said.code == 75 and said.out == "" and "stopped because the time is up, in epoch" in said.err
    assert 0 < call(*command, "--dry-run").record["epochs_left"] < 500


def test_judging_ends_with_the_time_of_grace(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "figures", lambda judge, classifier: time.sleep(60))
    start = time.monotonic()
    said = call(*COMMAND, tmp_path / "m.safetensors", "--max-time", "2s", "--grace", "0.2s")
    assert said.code == 75 and "in epoch 1 of 8, with the progress saved" in said.err
    assert time.monotonic() - start < 30
    found = read_resume(tmp_path / "m.resume")
    assert found is not None and (found.state["epoch"], found.state["history"]) == (1, [])
