"""Who has the last word on attacked images: independent draws of an uncertain checkpoint, and the detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import xaicli
from xaicli.attack.outward import FACTORS
from xaicli.data.cut import only_known, relabelled
from xaicli.data.digits import open_digits
from xaicli.files.checkpoint import read_checkpoint
from xaicli.run.calls import Calls
from xaicli.run.posterior import open_calls
from xaicli.run.rejection import rejector_of
from xaicli.run.settings import Settings

KNOWN = (2, 3, 5, 6, 7, 8, 9)
SMALL = ("-n", "48", "--batch-size", "8")
PGD = "pgd:eps=0.05,steps=3"


def train(call: Any, path: Path, *wish: str) -> Path:
    known = ("--known", ",".join(map(str, KNOWN)))
    said = call("train", "--data", "digits", *known, *wish, "-o", path)
    assert said.code == 0, said.err
    return path


@pytest.fixture(scope="module")
def plain(call: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = ("--arch", "cnn:width=4", "--epochs", "4", "--detector", "knn:k=10")
    return train(call, tmp_path_factory.mktemp("plain") / "p.safetensors", *small)


@pytest.fixture(scope="module")
def drawn(call: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = ("--recipe", "bayesian", "--arch", "bnn-mlp:hidden=16", "--epochs", "3")
    return train(call, tmp_path_factory.mktemp("drawn") / "d.safetensors", *small)


@pytest.fixture(scope="module")
def several(call: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = ("--recipe", "ensemble:k=2", "--arch", "cnn:width=2,depth=3", "--epochs", "2")
    return train(call, tmp_path_factory.mktemp("several") / "e.safetensors", *small)


def attacked(call: Any, checkpoint: Path, path: Path | str, spec: str = PGD, *asked: str) -> dict[str, Any]:
    said = call("attack", checkpoint, "-a", spec, *SMALL, *asked, "-o", path)
    assert said.code == 0, said.err
    record: dict[str, Any] = said.record
    return record


def asked_of(checkpoint: Path, **how: Any) -> Calls:
    return open_calls(checkpoint, device="cpu", settings=Settings(batch_size=8), **how)


def clean_images(store: Any) -> torch.Tensor:
    """The rows' own images, found by their numbers."""
    whole = open_digits("test")
    rows = np.searchsorted(whole.index, store["index"].astype(np.int64))
    return torch.as_tensor(whole.read(rows).pixels / np.float32(255))


def test_only_rows_of_known_classes_are_attacked(call: Any, plain: Path, here: Path) -> None:
    attacked(call, plain, "a.h5")
    known = only_known(relabelled(open_digits("test"), KNOWN))
    with xaicli.open_store("a.h5") as store:
        places = np.searchsorted(known.index, store["index"].astype(np.int64))
        assert np.array_equal(known.index[places], store["index"])
        assert np.array_equal(known.labels[places], store["label"]) and store["label"].max() < len(KNOWN)
        assert store.attributes["classes"] == [str(number) for number in KNOWN]
        assert store.job["parents"]["data"]["known"] == list(KNOWN)


def test_refusals_are_those_of_the_detector_on_the_stored_image(call: Any, plain: Path, here: Path) -> None:
    metrics = attacked(call, plain, "a.h5")["metrics"]
    checkpoint, calls = read_checkpoint(plain), asked_of(plain)
    rejector = rejector_of(checkpoint, calls)
    assert rejector is not None and checkpoint.meta.rejection is not None
    with xaicli.open_store("a.h5") as store:
        after = rejector.scores(calls, torch.as_tensor(store["data"])).numpy()
        before = rejector.scores(calls, clean_images(store)).numpy()
        assert np.array_equal(store["known_score"], after.astype(np.float32))
        refused, clean_refused = after < rejector.threshold, before < rejector.threshold
        assert np.array_equal(store["refused"], refused) and np.array_equal(store["clean_refused"], clean_refused)
        right, success = store["clean_prediction"] == store["label"], store["success"]
        stored = checkpoint.meta.rejection
        assert store.attributes["rejection"] == {"detector": "knn", "threshold": stored["threshold"]}
    assert metrics["clean_refusal_rate"] == clean_refused.mean()
    assert metrics["attacked_refusal_rate"] == refused.mean() > 0
    past = [not refused[n] for n in range(48) if right[n] and not clean_refused[n] and success[n]]
    accepted = sum(right & ~clean_refused)
    assert metrics["accepted_success_rate"] == sum(past) / accepted
    exact = binomtest(sum(past), int(accepted)).proportion_ci(0.95, "exact")
    assert metrics["intervals"]["accepted_success_rate"] == pytest.approx([exact.low, exact.high])
    assert metrics["robust_accuracy"] == (right & ~success).mean()  # refusals aside


def test_a_table_shows_the_rates(call: Any, plain: Path, here: Path) -> None:
    metrics = attacked(call, plain, "a.h5")["metrics"]
    shown = " ".join(call("attack", plain, "-a", PGD, *SMALL, "-o", "a.h5", "--format", "table").out.split())
    for name in ("clean_refusal_rate", "attacked_refusal_rate", "accepted_success_rate"):
        assert f"{name} {100 * metrics[name]:.1f} %" in shown.replace("_ ", "_"), shown


def test_draws_that_no_attack_has_seen_have_the_last_word(call: Any, drawn: Path, here: Path) -> None:
    metrics = attacked(call, drawn, "a.h5", f"{PGD},draws=3")["metrics"]
    seen, fresh = asked_of(drawn, draws=3), asked_of(drawn, draws=3, stream="posterior/judge")
    usual = asked_of(drawn, stream="posterior/judge")
    rejector = rejector_of(read_checkpoint(drawn), usual)
    with xaicli.open_store("a.h5") as store:
        images, clean = torch.as_tensor(store["data"]), clean_images(store)
        label = torch.as_tensor(store["label"]).long()
        logits, clean_logits = fresh.logits(images), fresh.logits(clean)
        assert np.array_equal(store["prediction"], logits.numpy())
        assert np.array_equal(store["clean_prediction"], clean_logits.argmax(1))
        right, held = clean_logits.argmax(1) == label, logits.argmax(1) == label
        assert np.array_equal(store["success"], right & ~held)
        assert np.array_equal(store["drawn_prediction"], seen.logits(images).argmax(1))
        assert np.array_equal(store["drawn_clean_prediction"], seen.logits(clean).argmax(1))
        seen_right = seen.logits(clean).argmax(1) == label
        seen_held = seen.logits(images).argmax(1) == label
        assert rejector is not None
        assert np.array_equal(store["known_score"], rejector.scores(usual, images).float())
    assert metrics["robust_accuracy"] == (right & held).double().mean()
    found = metrics["attacked_draws"]
    assert found["clean_accuracy"] == seen_right.double().mean()
    assert found["robust_accuracy"] == (seen_right & seen_held).double().mean()


def test_evaluate_finds_the_same_robust_accuracy(call: Any, drawn: Path, here: Path) -> None:
    metrics = attacked(call, drawn, "a.h5")["metrics"]
    said = call("evaluate", "a.h5", "--parent", drawn, "--batch-size", "8", "-k", "robust-accuracy", "-o", "s.h5")
    assert said.code == 0, said.err
    assert said.records[-1]["value"] == metrics["robust_accuracy"]
    assert metrics["robust_accuracy"] != metrics["attacked_draws"]["robust_accuracy"]  # of the networks it fits


def test_the_gradient_is_that_of_the_mean_prediction(call: Any, drawn: Path, here: Path) -> None:
    """One step of FGSM moves every pixel by the sign of the slope of -log of the mean probability of 4 draws."""
    attacked(call, drawn, "a.h5", "fgsm:eps=0.01,draws=4")
    networks = [calls.classifier for calls in asked_of(drawn, draws=4).members()]
    assert len(networks) == 4
    with xaicli.open_store("a.h5") as store:
        clean = clean_images(store).requires_grad_()
        mean = torch.stack([network(clean).softmax(1) for network in networks]).mean(0)
        label = torch.as_tensor(store["label"]).long()
        (slope,) = torch.autograd.grad(-mean.gather(1, label[:, None]).log().sum(), clean)
        moved = (clean + 0.01 * slope.sign()).clamp(0, 1).detach()
        rows = torch.as_tensor(store["drawn_clean_prediction"]).long() == label
        same = (torch.as_tensor(store["data"]) - moved).abs() < 1e-6
        assert rows.any() and same[rows].double().mean() > 0.999  # but where the slope is rounding


def test_the_plain_function_judges_itself_and_refusals_are_those_of_draws(call: Any, drawn: Path, here: Path) -> None:
    record = attacked(call, drawn, "a.h5", f"{PGD},draws=0")
    calls, usual = asked_of(drawn, draws=0), asked_of(drawn, stream="posterior/judge")
    rejector = rejector_of(read_checkpoint(drawn), usual)
    with xaicli.open_store("a.h5") as store:
        images = torch.as_tensor(store["data"])
        assert np.array_equal(store["prediction"], calls.logits(images)) and rejector is not None
        assert np.array_equal(store["known_score"], rejector.scores(usual, images).float())
        assert "drawn_prediction" not in store.columns
    assert record["options"]["draws"] == 0 and "attacked_draws" not in record["metrics"]


def test_an_ensemble_judges_itself(call: Any, several: Path, here: Path) -> None:
    record = attacked(call, several, "a.h5")
    assert record["options"]["draws"] == 2 and "attacked_draws" not in record["metrics"]
    with xaicli.open_store("a.h5") as store:
        images = torch.as_tensor(store["data"])
        assert store["prediction"] == pytest.approx(asked_of(several).logits(images).numpy(), abs=1e-5)
        assert "drawn_prediction" not in store.columns and "known_score" in store.columns


@pytest.mark.parametrize("asked", [("--sanity",), ("--precision", "bf16"), ("--dtype", "uint8"), ("--transfer-to",)])
def test_whatever_else_is_asked(asked: tuple[str, ...], call: Any, drawn: Path, several: Path, here: Path) -> None:
    """The checks, faster searches, bytes and other judges go together with draws."""
    other = (str(several),) if asked == ("--transfer-to",) else ()
    spec = "pgd:eps=8/255,steps=3,draws=2"
    metrics = attacked(call, drawn, "a.h5", spec, *asked, *other)["metrics"]
    fresh = asked_of(drawn, draws=2, stream="posterior/judge")
    with xaicli.open_store("a.h5") as store:
        data = store["data"] / np.float32(255) if store["data"].dtype == np.uint8 else store["data"]
        assert store["prediction"] == pytest.approx(fresh.logits(torch.as_tensor(data)).numpy(), abs=1e-5)
        assert (store["prediction"].argmax(1) == store["label"]).mean() == pytest.approx(metrics["robust_accuracy"])
    if asked == ("--sanity",):
        assert all(one["passed"] for one in metrics["sanity"].values()), metrics["sanity"]
    if other:
        assert len(metrics["transfer"]) == 1


def test_noise_has_draws_of_its_own_and_is_judged_by_fresh_networks_all_the_same(
    call: Any, drawn: Path, here: Path
) -> None:
    attacked(call, drawn, "a.h5", "uniform-noise:draws=3,eps=0.1")
    with xaicli.open_store("a.h5") as store:
        logits = asked_of(drawn, stream="posterior/judge").logits(torch.as_tensor(store["data"]))
        assert np.array_equal(store["prediction"], logits) and "drawn_prediction" in store.columns


def test_shards_find_the_same(call: Any, drawn: Path, here: Path) -> None:
    asked = ("attack", drawn, "-a", f"{PGD},draws=2", *SMALL, "--block", "16")
    for shard in ("2/2", "1/2"):
        said = call(*asked, "-o", "s.h5", "--shard", shard)
        assert said.code == 0 and said.out == "", said.err
    assert call("store", "merge", "s.h5").code == 0
    assert call(*asked, "-o", "t.h5").code == 0
    assert Path("s.h5").read_bytes() == Path("t.h5").read_bytes()


def test_draws_of_an_ordinary_checkpoint_are_refused(call: Any, plain: Path, here: Path) -> None:
    said = call("attack", plain, "-a", f"{PGD},draws=3", *SMALL)
    assert said.code == 2 and "is one network, of which nothing can be drawn" in said.err, said.err


def test_the_cost_of_draws_and_judges_is_planned(call: Any, plain: Path, drawn: Path, files: Any, here: Path) -> None:
    """A row costs so many forwards: the attack's own for each draw, two for each judge, and two for the detector."""

    def planned(checkpoint: Path, spec: str) -> int:
        said = call("attack", checkpoint, "-a", spec, *SMALL, "--dry-run")
        assert said.code == 0, said.err
        return int(said.record["forwards"]) // 48

    alone = planned(files.checkpoint, PGD)
    assert planned(plain, PGD) == alone + 2
    assert planned(drawn, f"{PGD},draws=3") == 3 * (alone + len(FACTORS)) + 2 * 3 + 2 * 20
    assert planned(drawn, f"{PGD},draws=0") == alone + 2 * 20
