"""Which rows are known, which are not, and which class each has in its own data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Files
from xaicli.data.cut import only_known, relabelled
from xaicli.data.dataset import UNKNOWN, Dataset
from xaicli.data.digits import open_digits
from xaicli.data.noise import open_noise
from xaicli.errors import InputError, UsageError
from xaicli.evaluate.open_rows import open_rows
from xaicli.files.artifact import identify
from xaicli.files.checkpoint import read_meta
from xaicli.files.parents import Parents
from xaicli.files.sources import Sources
from xaicli.run.cases import Case
from xaicli.run.inputs import Inputs
from xaicli.run.selection import select
from xaicli.run.settings import Settings
from xaicli.run.stored import open_stored_images

KNOWN = (1, 2, 5, 7)
TEST = open_digits("test")
PARENTS = Parents(Sources([], {}), ())


def case_of(files: Files, dataset: Dataset) -> Case:
    meta, _ = read_meta(files.checkpoint)
    return Case(identify(files.checkpoint), meta, Inputs(dataset, np.arange(len(dataset))), None, "m")


def test_rows_of_left_out_classes_are_unknown_and_keep_their_numbers(files: Files) -> None:
    rows = open_rows(case_of(files, relabelled(TEST, KNOWN)), (), PARENTS, Settings())
    left_out = ~np.isin(TEST.labels, KNOWN)
    assert rows.inputs.index.tolist() == TEST.index.tolist() and rows.origin.tolist() == left_out.astype(int).tolist()
    assert [rows.classes[number] for number in rows.truth] == [str(label) for label in TEST.labels]
    (source,) = rows.unknown
    assert (source["name"], source["rows"]) == ("left-out", left_out.sum()) and rows.document["known"] == [1, 2, 5, 7]


def test_further_data_come_after_with_classes_of_their_own(files: Files) -> None:
    case = case_of(files, relabelled(TEST, KNOWN))
    rows = open_rows(case, ("noise", str(files.images)), PARENTS, Settings())
    assert [(one["name"], one["rows"]) for one in rows.unknown] == [("left-out", 216), ("noise", 1000), ("m.fgsm", 12)]
    assert np.bincount(rows.origin).tolist() == [144, 216, 1000, 12] and (np.diff(rows.inputs.index) > 0).all()
    assert {rows.classes[number] for number in rows.truth[rows.origin == 2]} == {"noise"}
    attacked = {rows.classes[number] for number in rows.truth[rows.origin == 3]}
    assert attacked == {f"m.fgsm: {digit}" for digit in open_stored_images(files.images).labels}
    labels = rows.inputs.load(0, 1372).labels
    assert ((labels == UNKNOWN) == (rows.origin > 0)).all() and len({*labels[labels < UNKNOWN]}) == 4
    where = rows.of(rows.inputs.index[[7, 400, 1371]])
    assert where.tolist() == [7, 400, 1371]


def test_a_limit_is_one_of_each_source_and_known_rows_are_those_of_accuracy(files: Files) -> None:
    whole, few = relabelled(TEST, KNOWN), Settings(limit=30)
    rows = open_rows(case_of(files, whole), ("noise",), PARENTS, few)
    assert np.bincount(rows.origin).tolist() == [30, 30, 30]
    alone = only_known(whole)
    assert rows.inputs.index[rows.origin == 0].tolist() == alone.index[select(alone, few)].tolist()
    other = open_rows(case_of(files, whole), (), PARENTS, replace(few, per_class=2))
    assert np.bincount(other.origin).tolist() == [8, 2]  # of two for each of four classes, and of unknown rows


@pytest.mark.parametrize(
    ("known", "unknown", "sentence"),
    [
        ((), "digits", "'digits' is the data that is judged, and the model knows all of its classes"),
        (KNOWN, "digits:val", "'digits:val' is the data that is judged, and its unknown classes are judged as they"),
    ],
)
def test_data_that_is_not_unknown_is_refused(files: Files, known: tuple[int, ...], unknown: str, sentence: str) -> None:
    dataset = relabelled(TEST, known) if known else TEST
    with pytest.raises(UsageError, match=sentence):
        open_rows(case_of(files, dataset), (unknown,), PARENTS, Settings())


def test_nothing_known_and_the_same_twice_are_refused(files: Files, here: Path) -> None:
    case = case_of(files, relabelled(TEST, KNOWN))
    with pytest.raises(UsageError, match="--unknown 'noise' is given twice"):
        open_rows(case, ("noise", "noise"), PARENTS, Settings())
    with pytest.raises(InputError, match="no row of 'noise' is of a class that 'm' knows"):
        open_rows(case_of(files, open_noise("test", (1, 32, 32))), (), PARENTS, Settings())
