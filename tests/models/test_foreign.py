from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from xaicli.errors import InputError, MissingError, RefusedError
from xaicli.models.layouts import load_foreign
from xaicli.models.state import fit_state

STATE = {"fc.weight": torch.arange(6.0).view(2, 3), "fc.bias": torch.tensor([1.0, -1.0])}


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.proof),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


def same(state: dict[str, Tensor], expected: dict[str, Tensor] = STATE) -> bool:
    return list(state) == list(expected) and all(torch.equal(state[name], expected[name]) for name in expected)


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        {"state_dict": STATE, "epoch": 3, "best": 0.5},
        {"model": STATE, "optimizer": {"state": {}}},
        {"model_state_dict": OrderedDict(STATE)},
        {"model": {"state_dict": STATE}},
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        {"state_dict": prefixed("_orig_mod.module.")},
        {name: nn.Parameter(tensor) for name, tensor in STATE.items()},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrappers_and_prefixes_are_taken_off(path: Path, content: object, zipped: bool) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert same(load_foreign(path).state)


def test_a_prefix_that_not_all_names_share_stays(path: Path) -> None:
    state = {"module.weight": torch.ones(1), "head": torch.ones(1)}
    torch.save(state, path)
    assert same(load_foreign(path).state, state)


def test_safetensors_whatever_the_ending(path: Path) -> None:
    half = torch.ones(2, dtype=torch.bfloat16)
    save_file({**prefixed("module."), "module.half": half}, path)
    loaded = load_foreign(path).state
    assert loaded.pop("half").dtype == torch.bfloat16
    assert same({name: loaded[name] for name in STATE}) and loaded.keys() == STATE.keys()


def test_a_pickle_under_the_wrong_ending(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    torch.save(STATE, path)
    assert same(load_foreign(path).state)


@pytest.mark.parametrize("forced", ["0", "1"])
@pytest.mark.parametrize("kind", ["zip", "legacy", *(f"protocol {n}" for n in range(6))])
def test_a_malicious_pickle_is_refused_and_does_not_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, forced: str
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    proof = tmp_path / "proof"
    content = {"state_dict": STATE, "extra": Evil(proof)}
    if kind.startswith("protocol"):
        path.write_bytes(pickle.dumps(Evil(proof), protocol=int(kind[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(RefusedError, match=r"posix\.mkdir") as caught:
        load_foreign(path)
    assert not proof.exists()
    assert "\n" not in str(caught.value) and "torch.save(model.state_dict(), FILE)" in str(caught.value)


def test_a_pickled_module_is_refused_with_its_classes(path: Path) -> None:
    for zipped in (True, False):
        torch.save(nn.Sequential(nn.Linear(2, 2)), path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(RefusedError, match=r"torch\.nn\.modules\.container\.Sequential"):
            load_foreign(path)


def test_numpy_scalars_are_refused_by_name(path: Path) -> None:
    torch.save({"state_dict": STATE, "best": np.float64(0.5)}, path)
    with pytest.raises(RefusedError, match=r"multiarray\.scalar"):
        load_foreign(path)


def test_a_torchscript_archive_is_refused(path: Path) -> None:
    archive = zipfile.ZipFile(path, "w")
    for name, content in {"constants.pkl": b"\x80\x02).", "data.pkl": b"\x80\x02}.", "version": b"3\n"}.items():
        archive.writestr(f"weights/{name}", content)
    archive.close()
    with pytest.raises(RefusedError, match="TorchScript"):
        load_foreign(path)


def test_compressed_records_are_refused(path: Path, tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(100_000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry.filename))
    assert path.stat().st_size < 4_000
    with pytest.raises(RefusedError, match="compressed"):
        load_foreign(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_refused(path: Path, zipped: bool) -> None:
    torch.save({"w": torch.ones(300)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in (0, 1, 5, 60, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cannot be read as weights"):
            load_foreign(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello, world\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(64), b"PK\x03\x04" + bytes(80)]
)
def test_other_files_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_foreign(path)


def test_a_truncated_safetensors_file_is_refused(path: Path) -> None:
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_foreign(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list where a state dict"),
        ({}, "no tensors"),
        ({"w": 3.5}, "holds float under 'w'"),
        ({3: torch.ones(1)}, "holds Tensor under 3"),
        ({"w": torch.ones(2, 2).to_sparse()}, "'w' .* is sparse"),
    ],
)
def test_what_is_no_state_dict_is_refused(path: Path, content: object, message: str) -> None:
    torch.save(content, path)
    with pytest.raises(InputError, match=message):
        load_foreign(path)


def test_a_missing_file(path: Path) -> None:
    with pytest.raises(MissingError, match=r"weights\.pt"):
        load_foreign(path)


def network() -> nn.Module:
    return nn.Sequential(OrderedDict(fc=nn.Linear(3, 2)))


def test_a_state_that_fits_is_copied_and_converted() -> None:
    target = network()
    state = {name: tensor.half() for name, tensor in STATE.items()}
    fit_state(target, state, "'w.pt'")
    assert same(dict(target.state_dict()))
    assert target.fc.weight.dtype == torch.float32 and target.fc.weight.requires_grad


def test_everything_that_does_not_fit_is_named() -> None:
    state = {"fc.weight": torch.ones(2, 4), "fc.b": torch.ones(2), **{f"x{n}": torch.ones(1) for n in range(4)}}
    with pytest.raises(InputError) as caught:
        fit_state(network(), state, "'w.pt'")
    assert str(caught.value) == (
        "the weights in 'w.pt' do not fit the architecture: missing: fc.bias; "
        "unexpected: fc.b, x0, x1 and 2 more; of another shape or type: "
        "fc.weight (float32 [2, 4] where float32 [2, 3] is needed); name the right --arch."
    )


def test_a_state_of_another_type_does_not_fit() -> None:
    for dtype in (torch.int64, torch.complex64):
        with pytest.raises(InputError, match=r"fc\.weight \((int64|complex64)"):
            fit_state(network(), {name: tensor.to(dtype) for name, tensor in STATE.items()}, "'w.pt'")


def test_counters_that_old_files_lack_are_zero() -> None:
    target = nn.BatchNorm2d(2)
    state = {name: tensor + 1 for name, tensor in target.state_dict().items() if name != "num_batches_tracked"}
    wrapped = nn.Sequential(target)
    fit_state(wrapped, {f"0.{name}": tensor for name, tensor in state.items()}, "'w.pt'")
    assert target.num_batches_tracked == 0
    assert torch.equal(target.weight, torch.tensor([2.0, 2.0]))
