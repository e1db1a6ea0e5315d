"""Where results go: default names, -o, what is finished, what is taken."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from xaicli.errors import ExistsError, UsageError
from xaicli.files.artifact import identify
from xaicli.run.job import Job
from xaicli.run.outputs import Named, finished, place
from xaicli.run.settings import Settings

PLAIN = Named(Job({"a": 1}, suffix=False), "m.pgd")
CHANGED = Named(Job({"a": 2}, suffix=True), "m.pgd")
OTHER = Named(Job({"a": 3}, suffix=False), "m.fgsm")
SIX = {"a1": PLAIN.job.id[:6], "a2": CHANGED.job.id[:6]}


def test_the_job_id_is_the_sha256_of_its_canonical_json() -> None:
    assert PLAIN.job.id == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@pytest.mark.parametrize(
    ("results", "output", "expected"),
    [
        ([PLAIN], None, ["m.pgd.h5"]),
        ([CHANGED], None, [f"m.pgd-{SIX['a2']}.h5"]),
        ([PLAIN, OTHER], None, ["m.pgd.h5", "m.fgsm.h5"]),
        ([PLAIN, CHANGED], None, ["m.pgd.h5", f"m.pgd-{SIX['a2']}.h5"]),
        ([PLAIN], "x.h5", ["x.h5"]),
        ([PLAIN], "x/", ["x/m.pgd.h5"]),
        ([PLAIN], "new/deep/x.h5", ["new/deep/x.h5"]),
        ([PLAIN], "folder", ["folder/m.pgd.h5"]),
        ([PLAIN, OTHER], "x", ["x/m.pgd.h5", "x/m.fgsm.h5"]),
        ([Named(PLAIN.job, "m", ".safetensors")], None, ["m.safetensors"]),
    ],
)
def test_paths(results: list[Named], output: str | None, expected: list[str], here: Path) -> None:
    (here / "folder").mkdir()
    assert place(results, Settings(output=output)) == [Path(name) for name in expected]


def test_names_that_collide_carry_their_job_ids(here: Path) -> None:
    same = Named(Job({"a": 4}, suffix=False), "m.pgd")
    names = [f"m.pgd-{SIX['a1']}.h5", f"m.pgd-{same.job.id[:6]}.h5", "m.fgsm.h5"]
    assert place([PLAIN, same, OTHER], Settings()) == [Path(name) for name in names]


def test_several_results_do_not_fit_in_a_file(here: Path) -> None:
    (here / "x.h5").touch()
    with pytest.raises(UsageError, match=r"^-o 'x.h5' is a file, but 2 files result; name a folder.$"):
        place([PLAIN, OTHER], Settings(output="x.h5"))


def test_the_same_job_is_finished_and_another_is_73(files: Any, tmp_path: Path) -> None:
    artifact = identify(files.images)
    job = Job(artifact.job, suffix=False)
    assert job.id == artifact.job_id
    assert finished(files.images, job, Settings()) == artifact
    assert finished(files.images, job, Settings(force=True)) is None
    assert finished(tmp_path / "new.h5", job, Settings()) is None
    with pytest.raises(
        ExistsError, match=r"exists and is not the result of this job; choose another -o or add --force"
    ):
        finished(files.images, PLAIN.job, Settings())
    assert finished(files.images, PLAIN.job, Settings(force=True)) is None


@pytest.mark.parametrize("content", [b"", b"my notes", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_none_of_ours_is_73_too(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(ExistsError):
        finished(path, PLAIN.job, Settings())


def test_a_truncated_result_of_the_same_job_is_not_taken_for_finished(files: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    shutil.copy(files.images, path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ExistsError):
        finished(path, Job(identify(files.images).job, suffix=False), Settings())
