"""Whatever is typed or piped, the front door never ends with code 1 (a bug) or a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from xaicli.methods import TABLE, describe

ROUNDS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
OPTION = {"attack": "-a", "explain": "-m", "evaluate": "-k", "generate": "-g"}


def check(said: Any, *codes: int) -> None:
    assert said.code in codes, said.err
    if said.code:
        assert said.err.startswith("xaicli: ")
        assert "Traceback" not in said.err
        assert said.err.count("\n") == 1
    for line in said.out.splitlines():
        json.loads(line)


@st.composite
def specifications(draw: st.DrawFn) -> tuple[str, str]:
    """Mostly a known method with known options, and values that may be anything."""
    verb = draw(st.sampled_from(sorted(OPTION)))
    name = draw(st.one_of(st.sampled_from(sorted(TABLE[verb])), TEXT))
    keys = [option.key for option in describe(verb, name).options] if name in TABLE[verb] else []
    key = st.sampled_from(keys) if keys else TEXT
    value = st.one_of(
        TEXT, st.floats().map(str), st.integers().map(str), st.sampled_from(["none", "1/0", "l2", "true"])
    )
    pairs = draw(st.lists(st.tuples(key, value), max_size=3))
    return verb, f"{name}:" + ",".join(f"{k}={v}" for k, v in pairs)


@ROUNDS
@given(specifications())
def test_method_specifications(here: Path, call: Any, specification: tuple[str, str]) -> None:
    """The source does not exist, so a specification that is right ends with 66."""
    verb, text = specification
    check(call(verb, "gone", f"{OPTION[verb]}={text}" if text.startswith("-") else OPTION[verb], text), 2, 66)


@ROUNDS
@given(st.one_of(TEXT, st.sampled_from(["predicted", "label", "0", "9,3", "name:9", "0,0", "-1", "1e3", "runner-up"])))
@example("０")
@example(",")
@example("name:")
def test_targets(here: Path, call: Any, files: Any, target: str) -> None:
    command = ("explain", files.checkpoint, "-m", "edges", "-n", "2", "--batch-size", "2", "--dry-run")
    check(call(*command, f"--target={target}"), 0, 2)


@ROUNDS
@given(st.one_of(TEXT, st.from_regex(r"[0-9]{1,3}x[0-9]{1,3}x[0-9]{1,3}", fullmatch=True)))
@example("1x1x1")
@example("٣x٣x٣")
@example("1x99999999999x1")
def test_input_shapes(here: Path, call: Any, text: str) -> None:
    check(call("train", "--data", "nosuch:set", f"--input={text}"), 2)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
KINDS = st.sampled_from(["checkpoint", "images", "attributions", "scores", "metric", "report", "error"])
RECORDS = st.fixed_dictionaries(
    {"xaicli": JSON, "kind": st.one_of(KINDS, JSON)},
    optional={"path": JSON, "id": JSON, "parents": JSON, "rows": JSON, "metrics": JSON},
)


@ROUNDS
@given(st.lists(st.one_of(RECORDS, JSON).map(json.dumps), max_size=3))
@example(['{"xaicli":1,"kind":"images","path":"a\\u0000b","id":"1"}'])
@example(['{"xaicli":1,"kind":"images","path":"\\ud800","id":"1"}'])
@example(['{"xaicli":1,"kind":"images","path":".","id":"1"}'])
@example(['{"xaicli":1,"kind":"metric","parents":{"x":[{"path":"y","id":{}}]}}'])
def test_records_on_standard_input(here: Path, call: Any, lines: list[str]) -> None:
    check(call("evaluate", "-", stdin="\n".join(lines).encode()), 65, 66)


@ROUNDS
@given(st.dictionaries(KINDS, st.integers()), st.sampled_from(["checkpoint", "images", "attributions", "scores"]))
def test_a_true_record_with_other_fields_changed(
    here: Path, call: Any, files: Any, changes: dict[str, int], kind: str
) -> None:
    record = {**files.records[kind], **changes, "parents": changes, "rows": None, "metrics": [changes]}
    said = call("evaluate", "-", "--dry-run", "-n", "2", stdin=json.dumps(record).encode())
    assert said.code == 0, said.err


@ROUNDS
@given(st.binary(max_size=40))
@example(b"\x89HDF\r\n\x1a\n")
@example(b"\x80\x04.")
@example(b"\x08\0\0\0\0\0\0\0{}      ")
def test_bytes_on_standard_input(here: Path, call: Any, content: bytes) -> None:
    check(call("evaluate", "-", stdin=content), 65, 66, 77)


VALUES = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=6).map(json.dumps))
KEYS = st.sampled_from(
    [
        "limit",
        "seed",
        "batch-size",
        "block",
        "device",
        "output",
        "force",
        "parent",
        "format",
        "quiet",
        "threads",
        "data-root",
        "per-class",
        "no-color",
        "verbose",
        "dry-run",
        "sources",
        "help",
        "limt",
    ]
)


@ROUNDS
@given(st.dictionaries(KEYS, st.one_of(VALUES, st.lists(VALUES, max_size=2))), st.sampled_from(["", "[evaluate]\n"]))
def test_toml_values(here: Path, call: Any, values: dict[str, Any], head: str) -> None:
    (here / "c.toml").write_text(head + "\n".join(f"{key} = {_toml(value)}" for key, value in values.items()))
    said = call("evaluate", "gone.h5", "--config", "c.toml")
    assert said.code in (2, 65, 66), said.err
    assert "this is a bug" not in said.err


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return value if isinstance(value, str) else str(value).lower()


@ROUNDS
@given(st.binary(max_size=60))
@example(b"a.b.c = 1")
@example(b"[train]\n[train.x]\ny = 1")
@example(b"[store.info]\nquiet = true")
def test_toml_bytes(here: Path, call: Any, content: bytes) -> None:
    (here / "c.toml").write_bytes(content)
    check(call("methods", "train", "--config", "c.toml"), 0, 2, 65)


@pytest.mark.parametrize("verb", ["train", "attack", "explain", "evaluate", "generate", "import", "store", "methods"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(st.one_of(TEXT, st.sampled_from(["-n", "-o", "--seed", "--", "-", "-qv"])), max_size=4))
def test_arguments(here: Path, call: Any, verb: str, arguments: list[str]) -> None:
    said = call(verb, *arguments)
    assert said.code in (0, 2, 65, 66), said.err
    assert "this is a bug" not in said.err
