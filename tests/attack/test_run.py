"""The command around the engine: what is stored, what the record says, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import binomtest

import xaicli
from xaicli.attack.verdicts import stored_verdicts
from xaicli.models.arch import build_network, parse_arch

ROWS = 64
SMALL = ("-n", str(ROWS), "--batch-size", "8")
PGD = "pgd:eps=0.05,steps=4"


@pytest.fixture(scope="module")
def other(call: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A second checkpoint of the same data."""
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    said = call("train", "--data", "digits", "--arch", "cnn:width=4", "--epochs", "2", "--seed", "1", "-o", path)
    assert said.code == 0, said.err
    return said.record


@pytest.fixture(scope="module")
def whole(call: Any, files: Any, other: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("whole") / "w.h5"
    asked = ("--sanity", "--transfer-to", other["path"], "-o", path)
    said = call("attack", files.checkpoint, "-a", PGD, *SMALL, *asked)
    assert said.code == 0, said.err
    return said.record


def test_figures_are_those_of_the_rows(whole: dict[str, Any]) -> None:
    metrics = whole["metrics"]
    with xaicli.open_store(whole["path"]) as store:
        label, clean = store["label"], store["clean_prediction"] == store["label"]
        right, success = store["prediction"].argmax(1) == label, store["success"]
    assert metrics["robust_accuracy"] == (clean & right).mean()
    assert metrics["success_rate"] == success.sum() / clean.sum()
    exact = binomtest(int((clean & right).sum()), ROWS).proportion_ci(0.95, "exact")
    assert metrics["intervals"]["robust_accuracy"] == pytest.approx([exact.low, exact.high])
    exact = binomtest(int(success.sum()), int(clean.sum())).proportion_ci(0.95, "exact")
    assert metrics["intervals"]["success_rate"] == pytest.approx([exact.low, exact.high])
    assert metrics["per_class"].keys() == {str(number) for number in np.unique(label)}
    for name, found in metrics["per_class"].items():
        mine = label == int(name)
        assert (found["n"], found["clean_accuracy"]) == (mine.sum(), clean[mine].mean())
        assert found["robust_accuracy"] == (clean & right)[mine].mean()
        assert found["interval"] is None  # of fewer than 20 rows


def test_images_are_tried_on_other_models(whole: dict[str, Any], other: dict[str, Any]) -> None:
    net = xaicli.load_checkpoint(other["path"])
    with xaicli.open_store(whole["path"]) as store:
        assert store.attributes["transfer_to"] == [other["id"]] == store.job["transfer_to"]
        seen = net(torch.as_tensor(store["data"])).argmax(1).numpy()
        assert store["transfer_prediction"][:, 0].tolist() == seen.tolist()
        label, ours = store["label"], store["clean_prediction"] == store["label"]
        theirs = store["transfer_clean_prediction"][:, 0] == label
        fooled = ours & theirs & (seen != label)
    found = whole["metrics"]["transfer"][other["id"]]
    assert found["clean_accuracy"] == theirs.mean()
    assert found["robust_accuracy"] == (theirs & (seen == label)).mean()
    assert found["success_rate"] == fooled.sum() / (ours & theirs).sum() and found["n"] == (ours & theirs).sum()
    (parent,) = whole["parents"]["transfer_to"]
    assert parent["id"] == other["id"] and Path(parent["path"]).samefile(other["path"])


def test_verdicts_are_stored_and_said_again(call: Any, files: Any, other: Any, whole: dict[str, Any]) -> None:
    verdicts = whole["metrics"]["sanity"]
    assert len(verdicts) == 10 and all(set(one) == {"passed", "value", "means"} for one in verdicts.values())
    assert verdicts["bounds"]["passed"] is True and verdicts["gradients"]["value"] == 0
    with xaicli.open_store(whole["path"]) as store:
        assert stored_verdicts(store)["sanity"] == verdicts
    asked = ("--sanity", "--transfer-to", other["path"], "-o", whole["path"])
    assert call("attack", files.checkpoint, "-a", PGD, *SMALL, *asked).record == whole


def test_shards_find_the_same(call: Any, files: Any, other: Any, whole: dict[str, Any], here: Path) -> None:
    asked = ("--sanity", "--transfer-to", other["path"], "-o", "s.h5", "--block", "16")
    for shard in ("2/2", "1/2"):
        said = call("attack", files.checkpoint, "-a", PGD, *SMALL, *asked, "--shard", shard)
        assert said.code == 0 and said.out == "", said.err
    assert call("store", "merge", "s.h5").code == 0
    asked = ("--sanity", "--transfer-to", other["path"], "-o", "t.h5", "--block", "16")
    assert call("attack", files.checkpoint, "-a", PGD, *SMALL, *asked).code == 0
    assert Path("s.h5").read_bytes() == Path("t.h5").read_bytes()


def test_a_check_that_fails_is_said_aloud(call: Any, files: Any, here: Path) -> None:
    loud = "bim:eps=0.001,alpha=0.001,steps=1"
    said = call("attack", files.checkpoint, "-a", loud, *SMALL, "--sanity", "-o", "b.h5")
    failed = {name for name, one in said.record["metrics"]["sanity"].items() if not one["passed"]}
    warned = {line.split("'")[1] for line in said.err.splitlines() if "the sanity check" in line and "FAILED" in line}
    assert warned == failed
    shown = call("attack", files.checkpoint, "-a", loud, *SMALL, "--sanity", "-o", "b.h5", "--format", "table").out
    assert ("sanity FAILED" in " ".join(shown.split())) == bool(failed) and "per_class" not in shown


def test_bytes_are_judged_after_rounding(call: Any, files: Any, here: Path) -> None:
    said = call("attack", files.checkpoint, "-a", "pgd:eps=8/255", *SMALL, "--dtype", "uint8", "-o", "u.h5")
    assert said.code == 0, said.err
    net = xaicli.load_checkpoint(files.checkpoint)
    with xaicli.open_store("u.h5") as store:
        assert store["data"].dtype == np.uint8
        logits = net(torch.as_tensor(store["data"]).float() / 255)
        assert store["prediction"] == pytest.approx(logits.numpy(), abs=1e-4)
        right = store["clean_prediction"] == store["label"]
        assert np.array_equal(store["success"], right & (logits.argmax(1).numpy() != store["label"]))
        assert (store["distance"] <= 8 / 255 + 1e-6).all() and store["distance"].max() > 0
    again = call("evaluate", "u.h5", "--parent", files.checkpoint, "-k", "robust-accuracy", "-o", "s.h5").records
    assert again[-1]["value"] == said.record["metrics"]["robust_accuracy"]


def test_the_usual_command_is_the_job_it_was(call: Any, files: Any, here: Path) -> None:
    assert call("attack", files.checkpoint, "-a", "fgsm", *SMALL[2:], "-n", "12").code == 0
    (path,) = here.glob("*.h5")
    with xaicli.open_store(path) as store:
        assert store.job.keys().isdisjoint({"sanity", "transfer_to", "precision"}) and store.job["dtype"] == "float32"
        assert "torchattacks" not in store.job["versions"]


def test_a_library_attack_names_the_librarys_version(call: Any, files: Any, here: Path) -> None:
    said = call("attack", files.checkpoint, "-a", "onepixel", *SMALL[2:], "-n", "8", "-o", "o.h5")
    assert said.code == 0, said.err
    with xaicli.open_store("o.h5") as store:
        assert "torchattacks" in store.job["versions"]
        assert store.attributes["threat"] == {"norm": "l0", "eps": 1.0}
        assert set(store["distance"]) <= {0.0, 1.0}


def test_a_security_curve_is_in_the_record(call: Any, files: Any, here: Path) -> None:
    said = call("attack", files.checkpoint, "-a", "pgd:steps=5,eps=0.01,0.03,0.3", *SMALL, "-o", "c.h5")
    curve = said.record["metrics"]["security_curve"]
    assert [point["eps"] for point in curve] == [0.01, 0.03, 0.3]
    held = [point["robust_accuracy"] for point in curve]
    assert held == sorted(held, reverse=True) and held[-1] == said.record["metrics"]["robust_accuracy"]
    with xaicli.open_store("c.h5") as store:
        clean = store["clean_prediction"] == store["label"]
        assert held[0] == (clean & ~(store["broken_at"] <= np.float32(0.01))).mean()


def test_the_worst_case_over_stores(call: Any, files: Any, here: Path) -> None:
    texts = ("fgsm:eps=0.05", "pgd:norm=l2,eps=0.6,steps=5")
    for name, text in zip(("a.h5", "b.h5"), texts, strict=True):
        assert call("attack", files.checkpoint, "-a", text, *SMALL, "-o", name).code == 0
    parent = ("--parent", files.checkpoint, "-k", "robust-accuracy")
    said = call("evaluate", "a.h5", "b.h5", *parent, "-o", "s.h5")
    found = {record["name"]: record for record in said.records if record["kind"] == "metric"}
    rows = []
    for name in ("a.h5", "b.h5"):
        with xaicli.open_store(name) as store:
            rows.append(store["prediction"].argmax(1) == store["label"])
            label = store["label"]
    worst = rows[0] & rows[1]
    assert found["fgsm"]["value"] == rows[0].mean() and found["pgd"]["value"] == rows[1].mean()
    assert found["worst-case"]["value"] == worst.mean() and found["worst-case"]["n"] == ROWS
    by_class = found["worst-case"]["per_class"]
    assert {name: one["value"] for name, one in by_class.items()} == {
        str(number): worst[label == number].mean() for number in np.unique(label)
    }
    assert sum(one["n"] for one in by_class.values()) == ROWS
    assert call("attack", files.checkpoint, "-a", "fgsm", "-n", "63", "-o", "d.h5").code == 0
    said = call("evaluate", "a.h5", "d.h5", *parent, "-o", "t.h5")
    assert said.code == 65 and "not judged on the same samples" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--dtype", "uint16"), 2, "--dtype 'uint16' is unknown. Did you mean 'uint8'?"),
        (("--precision", "half"), 2, "--precision 'half' is unknown."),
        (("--transfer-to", "nothing.safetensors"), 66, "'nothing.safetensors' does not exist"),
        (("--transfer-to", "{images}"), 65, "holds images; name a checkpoint."),
        (("-a", "tifgsm"), 2, "takes images of 3 channels, and these have 1"),
        (("-a", "eadl1:max-iterations=5"), 2, "use at least 10, or abort-early=false."),
    ],
)
def test_mistakes_are_named(
    arguments: tuple[str, ...], code: int, sentence: str, call: Callable[..., Any], files: Any, here: Path
) -> None:
    given = [part.format(images=files.images) for part in arguments]
    said = call("attack", files.checkpoint, "-a", "fgsm", "-n", "4", *given)
    assert (said.code, list(here.glob("*.h5"))) == (code, []) and sentence in said.err, said.err


def test_floats_are_not_stored_as_bytes(call: Any, files: Any, here: Path) -> None:
    said = call("attack", files.images, "--parent", files.checkpoint, "-a", "fgsm", "--dtype", "uint8", "-o", "x.h5")
    assert said.code == 65 and "so --dtype uint8 would lose them; leave it out." in said.err


def test_a_judge_must_take_the_same_images(call: Any, files: Any, here: Path) -> None:
    network = build_network(parse_arch("cnn:width=2"), 10, 3, (32, 32))
    save_file(network.state_dict(), "weights.safetensors")
    known = ("--arch", "cnn:width=2", "--classes", "10", "--input", "3x32x32", "-o", "rgb.safetensors")
    made = call("import", "weights.safetensors", *known)
    assert made.code == 0, made.err
    said = call("attack", files.checkpoint, "-a", "fgsm", "--transfer-to", "rgb.safetensors", "-o", "x.h5")
    assert said.code == 65 and "takes images of 3x32x32, but these are 1x32x32" in said.err


def test_a_row_on_which_the_library_fails_is_no_result(
    call: Any, files: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchattacks

    def forward(self, images, labels):
        if labels.item() == 0:
            raise ValueError("zero")
        return images

    monkeypatch.setattr(torchattacks.GN, "forward", forward)
    said = call("attack", files.checkpoint, "-a", "gn", *SMALL, "-o", "g.h5")
    with h5py.File("g.h5") as file:
        status, label, clean = file["status"][()], file["label"][()], file["clean_prediction"][()]
    lost = (label == 0) & (clean == label)
    assert said.code == 3 and said.record["failed"] == lost.sum() > 0
    assert np.array_equal(status != 1, lost) and "torchattacks' GN failed on row" in said.err
