"""The grammar NAME[:k=v,...] against signatures, and what the table promises of every method."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import xaicli
from xaicli.errors import UsageError
from xaicli.methods import NOUNS, TABLE, describe, names, parse_spec, recorded_spec, split_options
from xaicli.signatures import Option, coerce, definition, parse_number, show

EVERY = [(verb, name) for verb in TABLE for name in TABLE[verb]]


def test_options_take_the_types_of_the_signature() -> None:
    spec = parse_spec("attack", "pgd:norm=l2,eps=8/255,steps=40,targeted=yes,step=none")
    options = spec.options
    assert (options["norm"], options["eps"], options["steps"], options["targeted"]) == ("l2", 8 / 255, 40, True)
    assert options["step"] is None
    assert type(options["steps"]) is int
    assert spec.name == "pgd"


def test_one_radius_is_a_number_and_several_are_a_list() -> None:
    one, several = parse_spec("attack", "pgd:eps=8/255"), parse_spec("attack", "apgd:eps=0.1,0.2,1/4,steps=7")
    assert one.options["eps"] == 8 / 255 and several.options["eps"] == (0.1, 0.2, 0.25)
    assert several.record["eps"] == [0.1, 0.2, 0.25] and str(several) == "apgd:eps=0.1,0.2,0.25,steps=7"
    assert recorded_spec("attack", "apgd", several.record) == several
    with pytest.raises(UsageError, match=r"expected a number >= 0"):
        parse_spec("attack", "pgd:eps=0.1,-0.2")


def test_defaults_are_the_signatures() -> None:
    spec = parse_spec("explain", "integrated-gradients")
    signature = inspect.signature(spec.method.load())
    expected = {p.name: p.default for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert spec.options == expected
    assert spec.changed == {}
    assert str(spec) == "integrated-gradients"


def test_an_alias_is_the_same_job_as_the_name() -> None:
    assert parse_spec("explain", "ig:steps=7") == parse_spec("explain", "integrated-gradients:steps=7")
    assert parse_spec("explain", "grad-cam").name == "gradcam"
    assert parse_spec("train", "at").name == "adversarial"


def test_the_text_of_a_spec_names_what_was_changed_and_reads_back() -> None:
    spec = parse_spec("explain", "ig:steps=128,baseline=blur")
    assert str(spec) == "integrated-gradients:steps=128,baseline=blur"
    assert parse_spec("explain", str(spec)) == spec


@pytest.mark.parametrize(
    ("verb", "text", "message"),
    [
        ("attack", "pdg", "there is no attack 'pdg'. Did you mean 'pgd'? `xaicli methods attack` lists them all."),
        ("explain", "grdcam", "there is no method 'grdcam'. Did you mean 'gradcam'?"),
        ("train", "", "there is no recipe ''."),
        ("attack", "pgd:epss=1", "'pgd' has no option 'epss'. Did you mean 'eps'? Its options are: norm, eps"),
        ("explain", "saliency:steps=1", "'saliency' has no option 'steps'. Its options are: none."),
        ("attack", "pgd:eps=big", "'pgd:eps=big' is not valid: 'big' is not a number."),
        ("attack", "pgd:eps=1/0", "'pgd:eps=1/0' is not valid: '1/0' is not a number."),
        ("attack", "pgd:eps=inf", "'pgd:eps=inf' is not valid: 'inf' is not a finite number."),
        ("attack", "pgd:eps=nan", "'pgd:eps=nan' is not valid: 'nan' is not a finite number."),
        ("attack", "pgd:eps=-1", "'pgd:eps=-1' is not valid: expected a number >= 0."),
        ("attack", "pgd:steps=0", "'pgd:steps=0' is not valid: expected a whole number > 0."),
        ("attack", "pgd:steps=1.5", "'pgd:steps=1.5' is not valid: expected a whole number > 0."),
        ("attack", "pgd:steps=1e300", "expected a whole number > 0 of at most 2147483647."),
        ("attack", "pgd:norm=l3", "'pgd:norm=l3' is not valid: expected one of linf, l2, l1 (did you mean 'l2'?)."),
        ("attack", "pgd:targeted=maybe", "'pgd:targeted=maybe' is not valid: expected true or false."),
        ("attack", "pgd:eps", "'pgd:eps' cannot be read: write options as NAME:key=value,key=value."),
        ("attack", "pgd:eps=", "'pgd:eps=' cannot be read"),
        ("attack", "pgd:eps=1,eps=2", "'pgd:eps=1,eps=2' gives the option 'eps' twice; give it once."),
        ("explain", "edges:sigma_x=1,sigma-x=2", "gives the option 'sigma-x' twice"),
    ],
)
def test_mistakes_are_usage_errors_that_name_what_was_expected(verb: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(verb, text)
    assert message in str(caught.value)


def test_a_piece_without_equals_continues_the_list_before_it() -> None:
    assert split_options("eps=1/255,2/255, steps=3", "") == {"eps": "1/255,2/255", "steps": "3"}


def test_what_the_command_sets_for_all_methods_yields_to_the_specification() -> None:
    extra = {"baseline": "blur", "nonsense": "1"}
    assert parse_spec("evaluate", "deletion", extra).options["baseline"] == "blur"
    assert parse_spec("evaluate", "deletion:baseline=white", extra).options["baseline"] == "white"
    assert "baseline" not in parse_spec("evaluate", "accuracy", extra).options


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("8/255", "float", 8 / 255),
        (" 3 ", "int", 3),
        ("off", "bool", False),
        ("none", "int | None", None),
        ("1,2,3", "tuple[int, ...]", (1, 2, 3)),
        ("a", "Literal['a', 'b']", "a"),
        ("0.5", "Share", 0.5),
    ],
)
def test_coerce(text: str, annotation: str, value: object) -> None:
    assert coerce(text, annotation) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back(value: float) -> None:
    assert parse_number(repr(value)) == value


@given(st.sampled_from(EVERY), st.data())
def test_every_value_that_can_be_shown_can_be_typed(method: tuple[str, str], data: st.DataObject) -> None:
    verb, name = method
    options = describe(verb, name).options
    texts = {option.key: data.draw(_valid(option), option.key) for option in options}
    written = ",".join(f"{key}={text}" for key, text in texts.items())
    spec = parse_spec(verb, f"{name}:{written}" if written else name)
    shown = ",".join(f"{key}={show(value)}" for key, value in zip(texts, spec.options.values(), strict=True))
    assert parse_spec(verb, f"{name}:{shown}" if shown else name).options == spec.options


def _valid(option: Option) -> st.SearchStrategy[str]:
    if option.choices:
        return st.sampled_from(option.choices)
    if option.kind == "bool":
        return st.sampled_from(["true", "false"])
    if option.kind in ("int", "Count"):
        return st.integers(1, 2**31 - 1).map(str)
    if option.kind == "str":
        return st.sampled_from(["auto", "stage3.0.conv2"])
    return st.sampled_from(["0.5", "1/4", "1"])


@given(st.sampled_from(sorted(TABLE)), st.one_of(st.text(), st.from_regex(r"[a-z-]+:([a-z_-]+=[^,]*,?)*")))
@example("attack", "pgd:=1")
@example("attack", "pgd:,,,")
@example("attack", ":")
def test_any_text_is_a_specification_or_a_usage_error(verb: str, text: str) -> None:
    try:
        spec = parse_spec(verb, text)
    except UsageError as error:
        assert str(error).endswith((".", "?"))
    else:
        assert spec.name in TABLE[verb]


@pytest.mark.parametrize(("verb", "name"), EVERY)
def test_every_method_documents_itself(verb: str, name: str) -> None:
    """What `ast` read is what Python sees, and there is a summary to show."""
    method = describe(verb, name)
    signature = inspect.signature(method.load())
    keywords = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert [(option.name, option.default) for option in method.options] == [(p.name, p.default) for p in keywords]
    positional = [p.name for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    assert list(method.queries) == positional
    assert method.summary.endswith(".")
    assert method.description, "the docstring says shapes, range, units"


def test_names_and_aliases_are_kebab_case_and_unique() -> None:
    for verb, table in TABLE.items():
        every = [*table, *(alias for _, aliases in table.values() for alias in aliases)]
        assert len(set(every)) == len(every), verb
        assert all(name == name.lower() and "_" not in name for name in every)
    assert list(NOUNS) == list(TABLE)
    assert names("attack")[:2] == ["fgsm", "pgd"]


def test_reading_the_table_imports_no_method() -> None:
    source = inspect.getsource(inspect.getmodule(describe))  # type: ignore[arg-type]
    imported = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name and name.startswith("xaicli")} - {
        "xaicli.errors",
        "xaicli.plugins",
        "xaicli.signatures",
    }


@pytest.mark.parametrize(
    "text",
    [
        'def one(x, *, a: int = 1):\n    """One.\n\nReturns\n    nothing (a, 2020).\n"""\n    return x\n',
        "@two\ndef other():\n    pass\n@three(\n    1\n)\n@four\ndef one(x): return x\nVALUE = 1\n",
        'TEXT = """\ndef one(y):\n    pass\n"""\n\ndef one(x):\n    # a remark\n# another\n\n    return x\n',
        "import os\n\n\ndef one(\n    x,\n) -> (\n    int\n):\n\treturn x\n",
    ],
)
def test_a_function_is_read_as_if_its_whole_file_were(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(text)
    whole = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "one"]
    assert ast.dump(definition(tmp_path / "m.py", "one")) == ast.dump(whole[0])


def test_our_functions_are_read_without_the_rest_of_their_files() -> None:
    for verb in TABLE:
        for target, _ in TABLE[verb].values():
            module, function = target.split(":")
            path = Path(xaicli.__file__).parent / Path(*module.split(".")).with_suffix(".py")
            whole = ast.parse(path.read_text(encoding="utf-8")).body
            found = next(node for node in whole if isinstance(node, ast.FunctionDef) and node.name == function)
            assert ast.dump(definition(path, function)) == ast.dump(found)
