"""Private trainings from the command's side: what they write, refuse, resume and compose."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from xaicli.data.open import open_data
from xaicli.errors import InputError, StoppedError, UsageError
from xaicli.files.checkpoint import read_checkpoint, read_meta
from xaicli.files.resume import read_resume
from xaicli.models.load import load_classifier
from xaicli.run.settings import Settings
from xaicli.specs import parse_spec
from xaicli.train.plan import Request
from xaicli.train.private.accountant import Mechanism, epsilon_of
from xaicli.train.private.secret import Secret
from xaicli.train.run import train
from xaicli.train.savepoint import Savepoint

SMALL = "cnn:width=4,depth=3"
ROWS = 1293
QUICK = "private:accountant=rdp,lr=0.1"


def request(recipe: str = f"{QUICK},noise-multiplier=2", **changes: Any) -> Request:
    return replace(Request("digits", SMALL, parse_spec("train", recipe), 2, shape=(1, 12, 12)), **changes)


def run(path: Path, what: Request | None = None, **changes: Any) -> dict[str, Any]:
    settings = replace(Settings(output=str(path), batch_size=300, device="cpu"), **changes)
    (record,) = train(what or request(), settings)
    return record


def test_the_checkpoint_says_what_was_promised(tmp_path: Path) -> None:
    record = run(tmp_path / "m.safetensors", request("private:epsilon=2,lr=0.1"))
    meta = read_meta(tmp_path / "m.safetensors")[0]
    assert meta.privacy is not None
    privacy, q, data = dict(meta.privacy), 300 / ROWS, str((meta.data or {})["digest"])
    sigma = privacy["noise_multiplier"]
    assert (privacy["steps"], privacy["sample_rate"], privacy["delta"]) == (8, q, 1e-4)
    assert privacy["epsilon"] == epsilon_of([Mechanism(sigma, q, 8)], 1e-4) == record["metrics"]["epsilon"]
    assert 1.98 <= privacy["epsilon"] <= privacy["target_epsilon"] == 2
    assert privacy["ledger"] == [
        {"data": data, "noise_multiplier": sigma, "sample_rate": q, "steps": 8, "max_grad_norm": 1.0}
    ]
    assert privacy["replaced"] == meta.arch["norms"]["group"] == ["block1.norm", "block2.norm", "block3.norm"]
    assert privacy["noise"] == "secret" and "canaries" not in privacy
    assert [entry["epsilon"] for entry in meta.history] == [
        epsilon_of([Mechanism(sigma, q, steps)], 1e-4) for steps in (4, 8)
    ]
    assert meta.metrics["epoch"] == 2 and meta.threat is None
    load_classifier(tmp_path / "m.safetensors")


def test_what_is_said_on_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(DROPOUT)
    run(tmp_path / "m.safetensors", request(arch=f"{tmp_path}/net.py:net"))
    said = capsys.readouterr().err
    assert "warning: BatchNorm became GroupNorm in 1: it would mix the images of a batch.\n" in said
    assert "private training leaves out what is random in 2.\n" in said
    assert "Epsilon is at most" in said and "thrown away" in said


DROPOUT = """
from torch import nn

def net(num_classes, channels):
    convolution = nn.Conv2d(channels, 4, 5, stride=4)
    return nn.Sequential(convolution, nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Flatten(), nn.Linear(16, num_classes))
"""
FUNCTIONAL = """
from torch import nn
from torch.nn.functional import batch_norm

class Mine(nn.BatchNorm2d):
    pass

class Functional(nn.Module):
    def forward(self, x):
        return batch_norm(x, None, None, training=True)

def functional(num_classes, channels):
    return nn.Sequential(nn.Conv2d(channels, 4, 5, stride=4), Functional(), nn.Flatten(), nn.Linear(16, num_classes))

def subclass(num_classes, channels):
    return nn.Sequential(nn.Conv2d(channels, 4, 5, stride=4), Mine(4), nn.Flatten(), nn.Linear(16, num_classes))
"""


@pytest.mark.parametrize(
    ("recipe", "changes", "sentence"),
    [
        ("private:epsilon=1e-6", {}, "epsilon 1e-06 is too small for 8 steps"),
        ("private:epsilon=1,noise-multiplier=0.1,accountant=rdp", {}, "not one step with noise-multiplier 0.1 keeps"),
        ("private:delta=0.5", {}, "delta 0.5 is not between 0 and 1/1293"),
        (QUICK, {"batch_size": 1294}, "a batch of 1294 cannot be drawn from 1293 training images"),
        (QUICK, {"freeze": ("block1", "block2", "block3", "fc")}, "leaves nothing to train"),
        (QUICK, {"freeze": ("blok1",)}, "--freeze 'blok1' is no layer of the network. Did you mean 'block1'?"),
        (f"{QUICK},canaries=1293", {}, "1293 canaries cannot be drawn from 1293 training images"),
        (f"{QUICK},multiplicity=8", {"physical_batch": 7}, "--physical-batch 7 has no room for the 8 augmentations"),
        (QUICK, {"precision": "bf16"}, "private training computes in float32"),
        (QUICK, {"arch": "{net}:functional"}, "other gradients in a batch .* than image by image"),
        (QUICK, {"arch": "{net}:subclass"}, "private training cannot use BatchNorm, which mixes .* of the kind Mine"),
    ],
)
def test_what_cannot_be_had_is_a_usage_error(
    tmp_path: Path, recipe: str, changes: dict[str, Any], sentence: str
) -> None:
    (tmp_path / "net.py").write_text(FUNCTIONAL)
    settings = {name: changes[name] for name in changes.keys() & {"batch_size"}}
    asked = {name: value for name, value in changes.items() if name not in settings}
    if "arch" in asked:
        asked["arch"] = asked["arch"].format(net=tmp_path / "net.py")
    with pytest.raises(UsageError, match=sentence.replace("(", r"\(")):
        run(tmp_path / "m.safetensors", request(recipe, **asked), **settings)
    assert not (tmp_path / "m.safetensors").exists()


def test_training_stops_at_the_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At noise 2 and a rate of .23, epsilon 1.8 is used up within the third of four epochs."""
    what = request(f"{QUICK},noise-multiplier=2,epsilon=1.8", epochs=4)
    q = 300 / ROWS
    most = next(n for n in count(1) if epsilon_of([Mechanism(2, q, n + 1)], 1e-4, "rdp") > 1.8)
    assert 8 < most < 12
    forecast = run(tmp_path / "m.safetensors", what, dry_run=True)
    assert (forecast["steps"], forecast["epochs"], forecast["forwards"]) == (most, 3, 300 * most)
    run(tmp_path / "m.safetensors", what)
    assert f"used up after {most} of 16 steps; training stops there" in capsys.readouterr().err
    meta = read_meta(tmp_path / "m.safetensors")[0]
    assert meta.privacy is not None
    assert (len(meta.history), meta.privacy["steps"]) == (3, most)
    assert meta.privacy["epsilon"] == meta.history[-1]["epsilon"] <= 1.8


def test_without_noise_there_is_no_epsilon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(tmp_path / "m.safetensors", request("private:noise-multiplier=0,lr=0.1"))
    meta = read_meta(tmp_path / "m.safetensors")[0]
    assert meta.privacy is not None and meta.privacy["epsilon"] is None and record["metrics"]["epsilon"] is None
    assert "Nothing is promised" in capsys.readouterr().err


def test_noise_is_secret_unless_it_is_seeded(tmp_path: Path) -> None:
    names = [read_checkpoint_tensors(tmp_path / f"{n}.safetensors", f"{QUICK},noise-multiplier=2") for n in "ab"]
    assert names[0] != names[1]
    seeded = [
        read_checkpoint_tensors(tmp_path / f"{n}.safetensors", f"{QUICK},noise-multiplier=2,noise=seeded") for n in "cd"
    ]
    assert seeded[0] == seeded[1] != names[0]


def test_a_seeded_training_shares_no_noise_with_the_one_it_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or their difference would show what lies below the noise, even to those who do not know the seed."""
    drawn: list[tuple[int, str, float]] = []
    normal = Secret.normal

    def noted(self: Secret, step: int, name: str, like: Any) -> Any:
        noise = normal(self, step, name, like)
        drawn.append((step, name, noise.sum().item()))
        return noise

    monkeypatch.setattr(Secret, "normal", noted)
    seeded, first = f"{QUICK},noise-multiplier=2,noise=seeded", tmp_path / "a.safetensors"
    run(first, request(seeded, epochs=1))
    run(tmp_path / "b.safetensors", request(seeded, arch=None, source=str(first), epochs=1))
    assert len(drawn) == len(set(drawn)) == 2 * len({(step, name) for step, name, _ in drawn})


def read_checkpoint_tensors(path: Path, recipe: str) -> str:
    run(path, request(recipe))
    return read_meta(path)[0].tensors


def test_the_key_lies_in_the_resume_file_and_nowhere_else(
    tmp_path: Path, stop_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Secret, "fresh", classmethod(lambda cls: cls("ab" * 32)))
    path, resume = tmp_path / "m.safetensors", tmp_path / "m.resume"
    stop_at(3)
    with pytest.raises(StoppedError):
        run(path)
    assert stat.S_IMODE(resume.stat().st_mode) == 0o600
    found = read_resume(resume)
    assert found is not None and found.state["fixed"]["key"] == "ab" * 32
    stop_at(None)
    run(path)
    assert not resume.exists() and b"ab" * 32 not in path.read_bytes()


def test_it_is_kept_before_its_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training killed in its first step, before any time has passed, goes on with the same key."""
    drawn: list[str] = []
    rows = Secret.rows

    def killed(self: Secret, step: int, total: int, rate: float) -> Any:
        drawn.append(self.key)
        if len(drawn) == 1:
            raise KeyboardInterrupt
        return rows(self, step, total, rate)

    monkeypatch.setattr(Secret, "rows", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "m.safetensors")
    run(tmp_path / "m.safetensors")
    assert len(drawn) == 9 and len(set(drawn)) == 1


def test_stopped_at_every_boundary_it_releases_the_same_under_one_key(
    tmp_path: Path, stop_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process would draw another key; and whatever was lost since the last save is done again, not anew."""
    keys = count(1)
    monkeypatch.setattr(Secret, "fresh", classmethod(lambda cls: cls(f"{next(keys):064x}")))
    expected = run(tmp_path / "whole.safetensors")["id"]
    keys = count(1)
    path, releases = tmp_path / "parts.safetensors", []
    normal, save = Secret.normal, Savepoint._save

    def noted(self: Secret, step: int, name: str, like: Any) -> Any:
        drawn = normal(self, step, name, like)
        releases.append((step, name, drawn.sum().item()))
        return drawn

    def forgetful(self: Savepoint, training: Any) -> None:
        if training.step == 3 and training.epoch not in lost:
            lost.append(training.epoch)
        else:
            save(self, training)

    monkeypatch.setattr(Secret, "normal", noted)
    monkeypatch.setattr(Savepoint, "_save", forgetful)
    runs, lost = 0, list[int]()
    while not path.exists():
        stop_at(3)
        runs += 1
        try:
            run(path)
        except StoppedError:
            assert runs < 20
    assert read_meta(path)[1] == expected
    steps = [step for step, _, _ in releases]
    assert runs > 4 and len(steps) > len(set(releases))  # some were done twice,
    assert len({(step, name) for step, name, _ in releases}) == len(set(releases))  # and came out the same
    assert set(steps) == set(range(8))
    assert read_meta(path)[0].privacy["steps"] == 8  # type: ignore[index]


def test_a_private_checkpoint_is_gone_on_with_within_one_budget(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    parent = run(first, request("private:epsilon=2,lr=0.1,accountant=rdp"))["id"]
    what = request("private:epsilon=3,lr=0.1,accountant=rdp", arch=None, source=str(first), epochs=1)
    record = run(second, what)
    assert record["parents"]["checkpoint"] == {"id": parent, "path": str(first)}
    meta, q = read_meta(second)[0], 300 / ROWS
    assert meta.privacy is not None
    ledger = [(e["noise_multiplier"], e["sample_rate"], e["steps"]) for e in meta.privacy["ledger"]]
    assert [steps for _, _, steps in ledger] == [8, 4] and ledger[0][0] != ledger[1][0]
    both = epsilon_of([Mechanism(*entry) for entry in ledger], 1e-4, "rdp")
    assert meta.privacy["epsilon"] == both and 2.97 <= both <= 3 < epsilon_of([Mechanism(*ledger[1])], 1e-4, "rdp") + 2
    assert [entry["epsilon"] > 2 for entry in meta.history] == [True]
    assert [job["method"] for job in meta.lineage] == ["private", "private"]
    assert meta.job["parents"]["checkpoint"] == parent and meta.arch == read_meta(first)[0].arch
    with pytest.raises(UsageError, match=r"have spent epsilon (2|1\.99\d*) of the 1\.5 asked for"):
        run(tmp_path / "c.safetensors", request("private:epsilon=1.5,accountant=rdp", arch=None, source=str(first)))
    assert q == ledger[1][1]


@contextmanager
def other_digits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Digits under another digest: other data."""
    with monkeypatch.context() as patch:
        patch.setattr("xaicli.train.plan.open_data", lambda *a, **k: replace(open_data(*a, **k), digest="f" * 64))
        yield


def test_weights_that_know_the_data_without_privacy_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, other, private = (tmp_path / f"{name}.safetensors" for name in ("plain", "other", "private"))
    run(plain, request("standard", epochs=1))
    with pytest.raises(UsageError, match=r"'plain\.safetensors' was trained on the same data without privacy"):
        run(private, request(QUICK, arch=None, source=str(plain)))
    with other_digits(monkeypatch):
        run(other, request("standard", epochs=1, arch=None, source=str(plain)))
    with pytest.raises(UsageError, match=r"'other\.safetensors' was trained on the same data without privacy"):
        run(private, request(QUICK, arch=None, source=str(other)))  # what it knows is still in the weights


def test_an_account_that_was_lost_in_between_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    private, between, last = (tmp_path / f"{name}.safetensors" for name in ("private", "between", "last"))
    run(private, request(f"{QUICK},noise-multiplier=2", epochs=1))
    with other_digits(monkeypatch):
        run(between, request("standard", epochs=1, arch=None, source=str(private)))
    assert read_meta(between)[0].privacy is None
    assert "'private.safetensors' was trained privately; the new checkpoint promises nothing" in capsys.readouterr().err
    with pytest.raises(UsageError, match="has lost the account of its private training on the same data"):
        run(last, request(QUICK, arch=None, source=str(between)))


def test_frozen_batch_norms_stay_and_the_others_do_not(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    run(path, request(f"{QUICK},noise-multiplier=2", freeze=("block1",)))
    checkpoint = read_checkpoint(path)
    assert checkpoint.meta.privacy is not None
    assert checkpoint.meta.privacy["replaced"] == ["block2.norm", "block3.norm"]
    assert checkpoint.tensors["network.block1.norm.num_batches_tracked"] == 0
    assert (checkpoint.tensors["network.block1.norm.running_mean"] == 0).all()
    loaded = load_classifier(path).network.get_submodule("block1.norm")
    assert type(loaded).__name__ == "BatchNorm2d"


def test_canaries_are_left_out_or_carry_their_labels_and_are_counted(tmp_path: Path) -> None:
    record = run(tmp_path / "m.safetensors", request(f"{QUICK},noise-multiplier=2,canaries=100", epochs=1))
    checkpoint = read_checkpoint(tmp_path / "m.safetensors")
    included = int(checkpoint.tensors["xaicli.canaries.included"].sum())
    assert checkpoint.meta.privacy is not None
    assert record["rows"] == ROWS - 100 + included and checkpoint.meta.privacy["canaries"] == 100
    assert checkpoint.meta.privacy["sample_rate"] == 300 / record["rows"]


def test_a_private_robust_recipe_is_judged_under_its_threat(tmp_path: Path) -> None:
    what = request(f"{QUICK},noise-multiplier=2,norm=l2,eps=0.3,steps=2", epochs=1)
    assert run(tmp_path / "m.safetensors", what, dry_run=True)["forwards"] == 4 * 300 * 3
    run(tmp_path / "m.safetensors", what)
    meta = read_meta(tmp_path / "m.safetensors")[0]
    assert meta.threat == {"norm": "l2", "eps": 0.3}
    assert {"val_robust_accuracy", "test_robust_accuracy"} <= meta.metrics.keys()


def test_a_private_checkpoint_is_attacked_and_explained_like_any_other(call: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    run(path)
    attacked = call("attack", path, "-a", "pgd:eps=0.1,steps=2", "-n", "8", "-o", tmp_path / "x.h5")
    assert attacked.code == 0, attacked.err
    for method in ("gradcam", "deeplift", "lrp"):
        explained = call("explain", path, "-m", method, "-n", "4", "-o", tmp_path / f"{method}.h5")
        assert explained.code == 0, explained.err
        assert explained.record["failed"] == 0


def test_a_wrong_ledger_is_not_composed_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    monkeypatch.setattr("xaicli.train.private.record.Budget.ledger", lambda *_: Broken())
    run(path, request(f"{QUICK},noise-multiplier=2", epochs=1))
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"ledger of 'm\.safetensors' is malformed"):
        run(tmp_path / "n.safetensors", request(QUICK, arch=None, source=str(path)))


class Broken:
    def document(self) -> list[dict[str, Any]]:
        return [{"data": "x"}]

    def spent(self, data: str) -> list[Mechanism]:
        return []


def test_it_goes_on_with_the_noise_it_was_begun_with(
    tmp_path: Path, stop_at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of the accountant would solve for another noise; the ledger tells of the one that was used."""
    path, what = tmp_path / "m.safetensors", request(f"{QUICK},epsilon=2")
    stop_at(3)
    with pytest.raises(StoppedError):
        run(path, what)
    found = read_resume(tmp_path / "m.resume")
    assert found is not None
    sigma = found.state["fixed"]["noise_multiplier"]
    monkeypatch.setattr("xaicli.train.private.budget.noise_for", lambda *_: 2 * sigma)
    stop_at(None)
    run(path, what)
    privacy = read_meta(path)[0].privacy
    assert privacy is not None and privacy["noise_multiplier"] == sigma
    assert privacy["epsilon"] == epsilon_of([Mechanism(sigma, 300 / ROWS, 8)], 1e-4, "rdp")
