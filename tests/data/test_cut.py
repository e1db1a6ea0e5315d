"""A data set cut down to its known classes."""

from __future__ import annotations

import numpy as np

from xaicli.data.cut import only_known, relabelled
from xaicli.data.dataset import UNKNOWN
from xaicli.data.digits import open_digits

KNOWN = (1, 4, 9)


def test_known_classes_are_numbered_anew_and_the_others_have_no_label() -> None:
    whole = open_digits("test")
    found = relabelled(whole, KNOWN)
    assert (found.classes, found.known, len(found)) == (("1", "4", "9"), KNOWN, len(whole))
    names = np.array([*found.classes, "?"])[np.where(found.labels == UNKNOWN, 3, found.labels)]
    assert names.tolist() == [str(label) if label in KNOWN else "?" for label in whole.labels]
    assert (found.digest, found.name, found.split) == (whole.digest, whole.name, whole.split)
    assert np.array_equal(found.index, whole.index) and found.key(7) == whole.key(7)


def test_rows_of_unknown_classes_are_left_out_and_the_others_keep_their_numbers() -> None:
    whole = open_digits("val")
    found = only_known(relabelled(whole, KNOWN))
    rows = np.flatnonzero(np.isin(whole.labels, KNOWN))
    assert found.labels.tolist() == [KNOWN.index(label) for label in whole.labels[rows]]
    assert found.index.tolist() == whole.index[rows].tolist() and found.known == KNOWN
    assert found.key(2) == whole.key(int(rows[2]))
    assert np.array_equal(found.read([0, 5]).pixels, whole.read(rows[[0, 5]]).pixels)


def test_a_data_set_whose_rows_all_have_labels_stays_itself() -> None:
    whole = open_digits("test")
    assert only_known(whole) is whole
