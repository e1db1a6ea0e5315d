"""The grammar of SPEC 2 in action: sources, default names, the same job again, another job in the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from xaicli.files.artifact import identify

SMALL = ("-n", "6", "--batch-size", "6")


@pytest.fixture
def model(files: Any, here: Path) -> Path:
    """The checkpoint under a short name in the current folder."""
    shutil.copy(files.checkpoint, here / "m.safetensors")
    return Path("m.safetensors")


def test_default_names_follow_source_and_method(model: Path, call: Any, here: Path) -> None:
    said = call("explain", model, "-m", "saliency", "-m", "edges", *SMALL)
    assert said.code == 0, said.err
    ids = [identify(Path(record["path"])).job_id[:6] for record in said.records]
    assert [record["path"] for record in said.records] == [f"m.saliency-{ids[0]}.h5", f"m.edges-{ids[1]}.h5"]
    said = call("attack", model, "-a", "fgsm:eps=2/255", *SMALL, "-o", "out/")
    path = Path(said.record["path"])
    assert str(path) == f"out/m.fgsm-{identify(path).job_id[:6]}.h5"
    said = call("explain", path, "-m", "edges")
    assert said.record["path"] == f"{path.stem}.edges.h5"


def test_the_same_job_again_is_its_record_and_computes_nothing(
    model: Path, call: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("explain", model, "-m", "saliency", *SMALL, "-o", "x.h5")
    first = call(*command)
    before = (here / "x.h5").stat()
    monkeypatch.setattr("xaicli.explain.model.open_calls", None)
    again = call(*command)
    assert (again.code, again.records) == (0, first.records)
    after = (here / "x.h5").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_training_again_is_the_record_too(call: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("train", "--data", "digits", "--arch", "cnn:width=4", "--epochs", "1")
    first = call(*command)
    assert first.code == 0, first.err
    monkeypatch.setattr("xaicli.train.run.train_model", None)
    assert call(*command).records == first.records
    name = Path(first.record["path"])
    assert name.name.startswith("digits-cnn")
    assert name.stem.endswith(f"-standard-{identify(name).job_id[:6]}")


def test_another_job_in_the_way_is_73_and_force_replaces_it(model: Path, call: Any, here: Path) -> None:
    call("explain", model, "-m", "saliency", *SMALL, "-o", "x.h5")
    content = (here / "x.h5").read_bytes()
    command = ("explain", model, "-m", "edges", *SMALL, "-o", "x.h5")
    said = call(*command)
    assert said.code == 73
    assert said.err == "xaicli: 'x.h5' exists and is not the result of this job; choose another -o or add --force.\n"
    assert (here / "x.h5").read_bytes() == content
    assert call(*command, "--force").code == 0
    assert identify(here / "x.h5").job["method"] == "edges"


def test_nothing_is_computed_when_one_of_several_outputs_is_taken(model: Path, call: Any, here: Path) -> None:
    command = ("explain", model, "-m", "saliency", "-m", "edges", *SMALL, "-o", "out/")
    _, second = (Path(record["path"]) for record in call(*command, "--dry-run").records)
    (here / "out").mkdir()
    second.write_text("mine")
    assert call(*command).code == 73
    assert list((here / "out").iterdir()) == [here / second]
    assert second.read_text() == "mine"


def test_sources_of_one_name_are_told_apart(files: Any, call: Any, here: Path) -> None:
    paths = []
    for number, folder in enumerate(("a", "b")):
        (here / folder).mkdir()
        said = call("train", "--data", "digits", "--arch", "cnn:width=2", "--epochs", "1", "--seed", str(number),
                    "-o", f"{folder}/m.safetensors")  # fmt: skip
        paths.append(said.record["path"])
    said = call("explain", *paths, "-m", "edges", *SMALL)
    names = [record["path"] for record in said.records]
    assert names == [f"m.edges-{identify(Path(name)).job_id[:6]}.h5" for name in names]
    assert len(set(names)) == 2


def test_one_source_given_twice_is_one(model: Path, call: Any, here: Path) -> None:
    shutil.copy(model, "copy.safetensors")
    assert len(call("explain", model, "copy.safetensors", model, "-m", "edges", *SMALL).records) == 1


def test_every_checkpoint_sees_every_images_store(files: Any, call: Any, here: Path) -> None:
    said = call("explain", files.checkpoint, files.images, "-m", "edges", "-o", "x.h5")
    assert said.code == 0, said.err
    assert said.record["parents"]["images"]["id"] == files.records["images"]["id"]
    assert said.record["rows"] == 12


def test_images_bring_their_own_model(files: Any, call: Any, here: Path) -> None:
    said = call("explain", files.images, "-m", "edges", "-o", "x.h5")
    assert said.record["parents"]["checkpoint"]["id"] == files.records["checkpoint"]["id"]


def test_images_may_be_the_data(files: Any, call: Any, here: Path) -> None:
    direct = call("explain", files.checkpoint, files.images, "-m", "edges", "-o", "x.h5").record
    named = call("explain", files.checkpoint, "--data", files.images, "-m", "edges", "-o", "y.h5").record
    assert direct["id"] == named["id"]
    said = call("explain", files.checkpoint, "--data", files.maps, "-m", "edges", "-o", "z.h5")
    assert said.code == 65
    assert "holds attributions; name an images store or a data set" in said.err


def test_images_and_data_together_are_a_usage_error(files: Any, call: Any, here: Path) -> None:
    for data in ("digits", files.images):
        said = call("explain", files.images, "--data", data, "-m", "edges")
        assert (said.code, said.err) == (
            2,
            "xaicli: an images store and --data were both given; give one of them.\n",
        )


def test_a_parent_that_is_nowhere_is_66_with_its_id(files: Any, call: Any, here: Path) -> None:
    shutil.copy(files.images, "alone.h5")
    said = call("explain", "alone.h5", "-m", "edges")
    assert said.code == 66
    assert files.records["checkpoint"]["id"][:12] in said.err
    assert call("explain", "alone.h5", "-m", "edges", "--parent", files.checkpoint, "-o", "a.h5").code == 0
    assert call("explain", "alone.h5", "-m", "edges", "--parent", files.checkpoint.parent, "-o", "b.h5").code == 0


def test_records_lead_from_command_to_command(files: Any, call: Any, here: Path) -> None:
    (here / "elsewhere").mkdir()
    shutil.copy(files.checkpoint, "elsewhere/m.safetensors")
    record = {**files.records["checkpoint"], "path": "elsewhere/m.safetensors"}
    attacked = call("attack", "-", "-a", "fgsm", *SMALL, stdin=json.dumps(record).encode())
    assert attacked.record["path"].startswith("m.fgsm-")
    explained = call("explain", "-", "-m", "gradcam", "-m", "edges", stdin=attacked.raw)
    assert [record["method"] for record in explained.records] == ["gradcam", "edges"]
    judged = call("evaluate", "-", stdin=explained.raw)
    assert judged.code == 0, judged.err
    assert judged.records[0]["kind"] == "scores"
    metrics = {(record["method"], record["metric"]) for record in judged.records[1:]}
    assert {("gradcam", "deletion"), ("edges", "insertion"), ("random", "deletion")} <= metrics


def test_dry_run_says_what_would_be_done_and_does_nothing(model: Path, call: Any, here: Path) -> None:
    said = call("explain", model, "-m", "ig:steps=8", *SMALL, "--dry-run")
    assert said.code == 0
    assert (said.record["kind"], said.record["rows"], said.record["blocks"]) == ("info", 6, 1)
    assert said.record["forwards"] % 6 == 0
    assert said.record["bytes"] > 6 * 32 * 32 * 4
    for command in (("train", "--data", "digits"), ("explain", model, "-m", "edges", *SMALL, "-o", "-")):
        assert call(*command, "--dry-run").record["kind"] == "info"
    assert [path.name for path in here.iterdir()] == ["m.safetensors"]


def test_a_whole_artifact_on_standard_output(files: Any, call: Any, here: Path) -> None:
    said = call("explain", files.checkpoint, "-m", "edges", *SMALL, "-o", "-")
    assert said.code == 0
    (here / "x.h5").write_bytes(said.raw)
    assert identify(here / "x.h5").kind == "attributions"
    again = call("evaluate", "-", "--parent", files.checkpoint, "-o", "-", stdin=said.raw)
    assert again.code == 0, again.err
    (here / "y.h5").write_bytes(again.raw)
    assert identify(here / "y.h5").kind == "scores"
    assert sorted(path.name for path in here.iterdir()) == ["x.h5", "y.h5"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("explain", "CHECKPOINT", "-m", "edges", "-m", "saliency"), "writes one artifact, but 2 would result"),
        (("evaluate", "SCORES"), "writes an artifact, but this command makes none; leave -o out."),
    ],
)
def test_a_whole_artifact_needs_exactly_one(
    arguments: tuple[str, ...], sentence: str, files: Any, call: Any, here: Path
) -> None:
    names = {"CHECKPOINT": files.checkpoint, "SCORES": files.scores}
    said = call(*(names.get(argument, argument) for argument in arguments), "-o", "-")
    assert said.code == 2
    assert sentence in said.err
    assert said.out == ""


def test_a_whole_artifact_is_refused_on_a_terminal(files: Any, call: Any, here: Path) -> None:
    said = call("explain", files.checkpoint, "-m", "edges", "-o", "-", terminal=True)
    assert said.code == 2
    assert said.err == "xaicli: '-o -' writes a whole file to standard output, which is a terminal; redirect it.\n"
