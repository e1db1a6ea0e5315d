from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaicli.errors import InputError
from xaicli.files.canonical import canonical_json, digest_json, parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aé\n"\\1'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abé", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_text_has_sorted_keys_no_spaces_and_plain_characters():
    assert canonical_json({"b": [1, 2.5, None], "a": {"é": True}}) == '{"a":{"é":true},"b":[1,2.5,null]}'


def test_digest_is_the_sha256_of_the_utf8_text():
    assert digest_json({"é": 1}) == hashlib.sha256('{"é":1}'.encode()).hexdigest()


@given(values)
def test_text_and_value_determine_each_other(value):
    assert parse_json(canonical_json(value), "it") == value


@given(st.dictionaries(st.text(max_size=3), st.integers(), min_size=2))
def test_order_of_insertion_does_not_matter(value):
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_a_mistake(value):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json([value])


@pytest.mark.parametrize("text", ["", "{", "[NaN]", "[-Infinity]", "[" * 100_000])
def test_text_that_is_no_json_is_named(text):
    with pytest.raises(InputError, match=r"^the job of maps\.h5 is not valid JSON"):
        parse_json(text, "the job of maps.h5")
