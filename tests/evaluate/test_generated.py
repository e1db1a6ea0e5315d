"""The report card of generated images: every figure by hand, what is compared with what, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from scipy.stats import beta

from tests.conftest import Files, Said, run_here
from xaicli.data.dataset import Dataset, sample_digest, to_float
from xaicli.data.open import open_data
from xaicli.files.checkpoint import read_meta, write_checkpoint
from xaicli.files.store import open_store
from xaicli.generate import class_images
from xaicli.models.load import load_classifier
from xaicli.models.state import state_arrays
from xaicli.run.calls import Calls

EACH = 8  # images of each class
CLASSES = ("2", "5", "8")
N = EACH * len(CLASSES)


@dataclass(frozen=True)
class Made:
    """Class images of two models, and a third one that judges them."""

    own: Path
    other: Path
    judge: Path
    stores: tuple[Path, Path]


@pytest.fixture(scope="module")
def made(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    train = ("train", "--data", "digits", "--epochs", "1", "--arch")
    for name, arch, seed in (("other", "cnn:width=4", "1"), ("judge", "mlp:hidden=24", "2")):
        ok("digits", run_here(*train, arch, "--seed", seed, "-o", folder / f"{name}.safetensors"))
    other, judge = folder / "other.safetensors", folder / "judge.safetensors"
    generate = ("generate", "-g", "class-images:steps=4", "--classes", ",".join(CLASSES), "--per-class", str(EACH))
    stores = folder / "own.h5", folder / "other.h5"
    for checkpoint, store in zip((files.checkpoint, other), stores, strict=True):
        ok(checkpoint.name, run_here(*generate, checkpoint, "-o", store))
    return Made(files.checkpoint, other, judge, stores)


def ok(what: object, said: Said) -> Said:
    assert said.code == 0, (what, said.err)
    return said


@pytest.fixture(scope="module")
def card(made: Made) -> list[dict[str, Any]]:
    """The metric records of both stores under the judge."""
    models = ("--parent", made.own, "--parent", made.other, "--judge", made.judge)
    said = ok("card", run_here("evaluate", *made.stores, *models, "-o", made.judge.with_name("scores.h5")))
    return [record for record in said.records if record["kind"] == "metric"]


def figure(card: list[dict[str, Any]], metric: str, source: int) -> dict[str, Any]:
    return [record for record in card if record["metric"] == metric][source]


def digits(split: str) -> Dataset:
    return open_data("digits", split=split, shape=(1, 32, 32))


def of_classes(dataset: Dataset) -> np.ndarray:
    return to_float(dataset.read(np.flatnonzero(np.isin(dataset.labels, [2, 5, 8]))).pixels)


def features(path: Path, images: np.ndarray) -> np.ndarray:
    return Calls(load_classifier(path)).features(torch.as_tensor(images))[1].double().numpy()


def images_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with open_store(path) as store:
        return to_float(store.column("data")), store.column("target").astype(int)


def seeds() -> np.ndarray:
    """What both generations began from."""
    draw = class_images.gaussian_draw(digits("train"), [2, 5, 8], 0)
    return np.stack([draw(label, number) for label in (2, 5, 8) for number in range(EACH)])


def test_both_accuracies_with_exact_intervals(card: list[dict[str, Any]], made: Made) -> None:
    for source, path in enumerate(made.stores):
        images, target = images_of(path)
        for metric, model in (("target-accuracy", (made.own, made.other)[source]), ("judge-accuracy", made.judge)):
            logits = Calls(load_classifier(model)).logits(torch.as_tensor(images)).numpy()
            hits = int((logits.argmax(1) == target).sum())
            record = figure(card, metric, source)
            assert (record["value"], record["n"], record["proportion"]) == (hits / N, N, True)
            low = beta.ppf(0.025, hits, N - hits + 1) if hits else 0
            assert record["low"] == pytest.approx(low, abs=1e-9)
    logits = Calls(load_classifier(made.judge)).logits(torch.as_tensor(seeds())).numpy()
    assert figure(card, "judge-accuracy-floor", 0)["value"] == (logits.argmax(1) == np.repeat([2, 5, 8], EACH)).mean()


def test_distances_are_those_of_the_judges_features(card: list[dict[str, Any]], made: Made) -> None:
    real = features(made.judge, of_classes(digits("test")))
    for source, path in enumerate(made.stores):
        own = features(made.judge, images_of(path)[0])
        a, b = np.cov(own.T), np.cov(real.T)
        shift = own.mean(0) - real.mean(0)
        expected = shift @ shift + np.trace(a + b) - 2 * np.linalg.norm(_half(own).T @ _half(real), "nuc")
        record = figure(card, "frechet-distance", source)
        assert record["value"] == pytest.approx(expected, rel=1e-5)
        assert (record["low"], record["high"], record["n"]) == (None, None, N)  # biased: no interval
        details = record["details"]
        assert (details["n"], details["dimensions"], details["model"]) == (N, own.shape[1], "judge")
        assert details["unreliable"] is (2 * own.shape[1] > N)
        assert details["real"]["rows"] == len(real)
        assert record["parents"]["judge"]["path"] == str(made.judge)
        kernel = figure(card, "kernel-distance", source)  # subsets of all generated images and as many real ones
        assert kernel["details"]["deviation"] == figure(card, "kernel-distance-deviation", source)["value"]


def _half(rows: np.ndarray) -> np.ndarray:
    """R with R R^T the covariance."""
    return (rows - rows.mean(0)).T / np.sqrt(len(rows) - 1)


def test_diversity_and_nearest_training_image(card: list[dict[str, Any]], made: Made) -> None:
    training = digits("train")
    pixels = to_float(training.read(range(len(training))).pixels)
    known = features(made.judge, pixels)
    for source, path in enumerate(made.stores):
        images, target = images_of(path)
        own = features(made.judge, images)
        apart = np.mean([pdist(own[target == label]).mean() for label in (2, 5, 8)])
        assert figure(card, "diversity", source)["value"] == pytest.approx(apart, rel=1e-5)
        near = cdist(own, known).min(1).mean()
        assert figure(card, "nearest-training-image", source)["value"] == pytest.approx(near, rel=1e-5)
        near = cdist(images.reshape(N, -1), pixels.reshape(len(pixels), -1)).min(1).mean()
        assert figure(card, "nearest-training-image-input", source)["value"] == pytest.approx(near, rel=1e-5)
    # with the same seeds, the same floor; with the same judge, the same ceiling
    for part in ("diversity-floor", "nearest-training-image-floor", "diversity-ceiling", "frechet-distance-floor"):
        one, other = figure(card, part, 0), figure(card, part, 1)
        assert one["value"] == other["value"] and one["value"] > 0 and one["n"] == N


def test_the_floor_is_what_the_generation_began_from(card: list[dict[str, Any]], made: Made) -> None:
    own = features(made.judge, seeds())
    apart = np.mean([pdist(own[start : start + EACH]).mean() for start in range(0, N, EACH)])
    assert figure(card, "diversity-floor", 0)["value"] == pytest.approx(apart, rel=1e-5)


def test_seeds_come_from_training_images_and_scores_from_test_images(
    made: Made, files: Files, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never the same images: what seeds are fitted on and what they are compared with have no image in common."""
    from xaicli.evaluate import companions, gallery

    fitted: list[Dataset] = []
    compared: list[Dataset] = []
    draw, compute = class_images.gaussian_draw, companions.compute_training

    def drawing(training: Dataset, *rest: Any) -> Any:
        fitted.append(training)
        return draw(training, *rest)

    def computing(dataset: Dataset, calls: Calls) -> Any:
        compared.append(dataset)
        return compute(dataset, calls)

    monkeypatch.setattr(class_images, "gaussian_draw", drawing)
    for module in (companions, gallery):
        monkeypatch.setattr(module, "compute_training", computing)
    ok(
        "generate",
        run_here("generate", files.checkpoint, "-g", "class-images:steps=1", "--per-class", "2", "-o", "g.h5"),
    )
    asked = ("-k", "frechet-distance", "-k", "diversity", "--parent", files.checkpoint)
    ok("evaluate", run_here("evaluate", "g.h5", *asked))

    def digests(datasets: list[Dataset]) -> set[bytes]:
        whole = [(one, one.read([position]).pixels[0]) for one in datasets for position in range(len(one))]
        return {sample_digest(pixels) for _, pixels in whole}

    real = [one for one in compared if one.split == "test"]
    assert {one.split for one in fitted} == {"train"} and len(real) == 2  # the whole split, and as many as generated
    assert len(digests(real[:1])) > 300 and digests(real).isdisjoint(digests(fitted[:1]))


def test_a_judge_among_the_sources_is_the_same_judge(made: Made, card: list[dict[str, Any]], here: Path) -> None:
    models = (made.own, made.other, made.judge)
    said = ok("sources", run_here("evaluate", *made.stores, *models, "-o", made.judge.with_name("scores.h5")))
    found = [record for record in said.records if record["kind"] == "metric"]
    assert [(one["metric"], one["value"]) for one in found] == [(one["metric"], one["value"]) for one in card]


def test_without_a_judge_each_model_measures_itself(made: Made, here: Path) -> None:
    said = ok("alone", run_here("evaluate", made.stores[0], "--parent", made.own, "-n", "9"))
    found = {record["metric"]: record for record in said.records if record["kind"] == "metric"}
    assert "judge-accuracy" not in found and found["frechet-distance"]["n"] == 9
    assert found["frechet-distance"]["details"]["model"] == "m"
    assert "FD(m) = " in said.err and "unreliable, because fewer than" in said.err


def test_a_table_of_both(made: Made, card: list[dict[str, Any]], here: Path) -> None:
    models = (made.own, made.other, made.judge)
    shown = run_here("evaluate", made.judge.with_name("scores.h5"), *models, "--format", "table").out
    assert f"Report card of class-images, {N} images" in shown
    assert [line.split() for line in shown.splitlines() if line.split()[:1] == ["m"]] == [["m", "other"]]
    for name in ("target-accuracy ↑", "FD(judge) ↓", "kernel-distance(judge) ↓", "nearest-training-image-input"):
        assert name in shown
    value = 100 * figure(card, "judge-accuracy", 1)["value"]
    (line,) = [line for line in shown.splitlines() if "judge-accuracy" in line]
    assert line.split()[-2:] == [f"{value:.1f}", "%"]


def test_some_rows_are_the_same_of_both_stores(made: Made, here: Path) -> None:
    some = ("-k", "judge-accuracy", "--judge", made.judge, "--per-class", "3", "-o", "s.h5")
    ok("some", run_here("evaluate", *made.stores, "--parent", made.own, "--parent", made.other, *some))
    with open_store("s.h5") as store:
        index = store.column("index").astype(int)
        found = [store.column(f"sources/{number}/judge-accuracy") for number in (0, 1)]
    assert len(index) == 9 and np.bincount(index // EACH).tolist() == [3, 3, 3]
    for values, path in zip(found, made.stores, strict=True):
        images, target = images_of(path)
        logits = Calls(load_classifier(made.judge)).logits(torch.as_tensor(images[index])).numpy()
        assert values.tolist() == (logits.argmax(1) == target[index]).tolist()


def test_shards_merge_to_the_bytes_of_one_process(made: Made, here: Path) -> None:
    command = ("evaluate", made.stores[1], "--parent", made.other, "--judge", made.judge, "--block", "4")
    ok("whole", run_here(*command, "-o", "whole.h5"))
    for shard in ("2/2", "1/2"):
        ok(shard, run_here(*command, "--shard", shard, "-o", "parts.h5"))
    ok("merge", run_here("store", "merge", "parts.h5"))
    assert Path("parts.h5").read_bytes() == Path("whole.h5").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("OWN", "-k", "judge-accuracy"), 2, "'judge-accuracy' asks a checkpoint that did not make the images"),
        (("OWN", "--judge", "MODEL"), 2, "made some of these images; name another checkpoint as their judge"),
        (("OWN", "OTHER-MODEL", "--judge", "JUDGE"), 2, "there is one judge; leave the others out"),
        (("OWN", "--judge", "OWN"), 65, "holds images; name a checkpoint"),
        (("OWN", "-k", "relative-loss"), 2, "judges what another generator makes than class-images"),
        (("MODEL", "--judge", "JUDGE"), 2, "--judge is for judging generated images"),
        (("OWN", "--judge", "NARROW"), 65, "knows 9 classes, but the data has 10; name other data"),
        (("OWN", "--judge", "SEVERAL", "-k", "diversity"), 2, "an ensemble has no features of its own for diversity"),
        (("MODEL", "-k", "target-accuracy"), 2, "'target-accuracy' does not judge a subject of kind checkpoint"),
        (("OWN", "FEW"), 65, "are not judged on the same samples"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], code: int, sentence: str, made: Made, files: Files, here: Path
) -> None:
    names: dict[str, Any] = {
        "OWN": made.stores[0],
        "MODEL": made.own,
        "OTHER-MODEL": made.other,
        "JUDGE": made.judge,
        "NARROW": here / "narrow.safetensors",
        "FEW": here / "few.h5",
        "SEVERAL": here / "several.safetensors",
    }
    if "NARROW" in arguments:
        meta, tensors = read_meta(made.judge)[0], state_arrays(load_classifier(made.judge))
        write_checkpoint(names["NARROW"], tensors, replace(meta, classes=meta.classes[:9]))
    if "SEVERAL" in arguments:
        several = ("--arch", "mlp:hidden=8", "--recipe", "ensemble:k=2", "--epochs", "1", "-o", names["SEVERAL"])
        ok("several", run_here("train", "--data", "digits", *several))
    if "FEW" in arguments:
        few = ("-g", "class-images:steps=1", "--per-class", "1", "-o", names["FEW"])
        ok("few", run_here("generate", made.other, *few))
    said = run_here(
        "evaluate", *(names.get(one, one) for one in arguments), "--parent", made.own, "--parent", made.other
    )
    assert said.code == code and sentence in said.err


def test_inversions_and_counterfactuals_are_compared_with_their_originals(
    made: Made, files: Files, here: Path, call: Callable[..., Said]
) -> None:
    generators = ("-g", "inversion:steps=3", "-g", "counterfactual:steps=5", "--per-class", "1")
    inverted, changed = (
        Path(one["path"]) for one in ok("g", call("generate", made.own, *generators, "-o", "g/")).records
    )
    cards = {}
    for path in (inverted, changed):
        said = ok(path.name, call("evaluate", path, made.own, made.judge, "-o", path.with_suffix(".scores.h5")))
        cards[path] = {record["metric"]: record["value"] for record in said.records if record["kind"] == "metric"}
    test = digits("test")
    for path in (inverted, changed):
        with open_store(path) as store:
            original = to_float(test.read(store.column("index").astype(int)).pixels)
            images, score = to_float(store.column("data")), store.column("score")
        delta = np.linalg.norm((images - original).reshape(len(images), -1).astype(float), axis=1)
        assert cards[path]["perturbation"] == pytest.approx(delta.mean(), rel=1e-5)
        if path == inverted:
            own, real = (features(made.judge, one) for one in (images, original))
            relative = np.linalg.norm(own - real, axis=1) / np.linalg.norm(real, axis=1)
            assert cards[path]["perceptual-distance"] == pytest.approx(relative.mean(), rel=1e-5)
            own, real = (features(made.own, one) for one in (images, original))
            relative = np.linalg.norm(own - real, axis=1) / np.linalg.norm(real, axis=1)
            assert cards[path]["relative-loss"] == pytest.approx(relative.mean(), rel=1e-4) == score.mean()
    assert {*cards[changed]} >= {"target-accuracy", "judge-accuracy"} and "relative-loss" not in cards[changed]


def test_visualisations_are_compared_with_the_training_images_that_drive_the_same_most(made: Made, here: Path) -> None:
    asked = ("-g", "feature-visualisation:objective=channel,units=1,steps=3", "--per-class", "3", "-o", "seen.h5")
    ok("generate", run_here("generate", made.own, *asked))
    said = ok("evaluate", run_here("evaluate", "seen.h5", made.own, made.judge, "-o", "scores.h5"))
    found = {record["metric"]: record for record in said.records if record["kind"] == "metric"}
    with open_store("seen.h5") as store:
        score, best = store.column("score"), store.read(np.arange(3), ["top_value"])["top_value"]
    assert found["activation"]["value"] == pytest.approx(score.mean(), rel=1e-6)
    assert found["activation-ceiling"]["value"] == pytest.approx(best.max(1).mean(), rel=1e-6)
    assert found["judge-accuracy"]["value"] is None  # a channel is no class,
    own = pdist(features(made.judge, images_of(Path("seen.h5"))[0]))
    assert found["diversity"]["value"] == pytest.approx(own.mean(), rel=1e-5)  # but its images are of one kind
    assert found["diversity-ceiling"]["value"] is None and found["diversity-floor"]["n"] == 3


def test_images_of_a_checkpoint_of_unknown_origin_have_nothing_to_be_compared_with(made: Made, here: Path) -> None:
    meta, tensors = read_meta(made.own)[0], state_arrays(load_classifier(made.own))
    write_checkpoint(here / "foreign.safetensors", tensors, replace(meta, data=None))
    noise = ("-g", "class-images:steps=1,start=noise", "--per-class", "1", "-o", "g.h5")
    ok("generate", run_here("generate", "foreign.safetensors", *noise))
    said = ok("evaluate", run_here("evaluate", "g.h5", "--judge", made.judge))
    found = [record["metric"] for record in said.records if record["kind"] == "metric"]
    assert found == ["target-accuracy", "judge-accuracy"]
    said = run_here("evaluate", "g.h5", "-k", "diversity")
    assert (
        said.code == 2 and "does not say what data it was trained on, to compare with; leave diversity out" in said.err
    )


def test_what_a_generation_was_given_is_found_or_left_out_with_a_word(files: Files, here: Path) -> None:
    asked = ("-g", "class-images:start=images,steps=2", "--per-class", "2", "--classes", "3,4", "-o", "g.h5")
    ok("generate", run_here("generate", files.checkpoint, files.images, *asked))
    evaluate = ("evaluate", "g.h5", "-k", "nearest-training-image", "-k", "perturbation", "--parent", files.checkpoint)
    found = {}
    for name, parents in (("with", ("--parent", files.images)), ("without", ())):
        said = ok(name, run_here(*evaluate, *parents, "-o", f"{name}.h5"))
        found[name] = {record["metric"]: record["value"] for record in said.records if record["kind"] == "metric"}
        assert ("cannot be compared with it: the images" in said.err) == (name == "without")
    with open_store(files.images) as attacked, open_store("g.h5") as store:
        begun = to_float(attacked.read(np.array([0, 1, 0, 1]), ["data"])["data"])
        delta = np.linalg.norm((to_float(store.column("data")) - begun).reshape(4, -1), axis=1)
    assert found["with"]["perturbation"] == pytest.approx(delta.mean(), rel=1e-5)
    training = digits("train")
    pixels = to_float(training.read(range(len(training))).pixels).reshape(len(training), -1)
    near = cdist(begun.reshape(4, -1), pixels).min(1).mean()
    assert found["with"]["nearest-training-image-input-floor"] == pytest.approx(near, rel=1e-5)
    assert found["without"]["perturbation"] is None is found["without"]["nearest-training-image-input-floor"]
    assert found["without"]["nearest-training-image"] == found["with"]["nearest-training-image"]
