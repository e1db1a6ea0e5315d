"""The grammar NAME[:k=v,...] against signatures."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xaicli.errors import UsageError
from xaicli.methods import TABLE, describe
from xaicli.signatures import Option, show
from xaicli.specs import parse_spec, recorded_spec, split_options

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


def test_every_attack_and_explainer_takes_draws_that_its_function_never_sees() -> None:
    spec = parse_spec("explain", "ig:steps=7,draws=5")
    assert spec.draws == 5 and "draws" not in spec.options and spec.record["draws"] == 5
    assert str(spec) == "integrated-gradients:steps=7,draws=5" and parse_spec("explain", str(spec)) == spec
    assert recorded_spec("explain", spec.name, spec.record) == spec
    assert parse_spec("attack", "pgd:draws=0").draws == 0 and parse_spec("attack", "pgd").draws is None
    assert spec != parse_spec("explain", "ig:steps=7") and parse_spec("explain", "ig:draws=auto").draws is None
    noise = parse_spec("attack", "gaussian-noise:draws=3")  # tries of a control, an option of its own
    assert (noise.draws, noise.options["draws"]) == (None, 3) and noise.drawn(20, "m") is noise


def test_draws_that_are_usual_change_no_file_name_and_others_do() -> None:
    usual, same, fewer = (parse_spec("explain", f"ig{text}").drawn(20, "m") for text in ("", ":draws=20", ":draws=3"))
    assert usual == same and usual.record["draws"] == 20 and usual.changed == same.changed == {}
    assert fewer.changed == {"draws": 3} and fewer.record["draws"] == 3


def test_a_certain_checkpoint_has_nothing_to_draw() -> None:
    plain = parse_spec("explain", "saliency")
    assert plain.drawn(0, "m") == plain == parse_spec("explain", "saliency:draws=0").drawn(0, "m")
    with pytest.raises(UsageError, match="'m' is one network, of which nothing can be drawn"):
        parse_spec("explain", "saliency:draws=2").drawn(0, "m")


@pytest.mark.parametrize(
    ("verb", "text", "message"),
    [
        ("attack", "pdg", "there is no attack 'pdg'. Did you mean 'pgd'? `xaicli methods attack` lists them all."),
        ("explain", "grdcam", "there is no method 'grdcam'. Did you mean 'gradcam'?"),
        ("train", "", "there is no recipe ''."),
        ("attack", "pgd:epss=1", "'pgd' has no option 'epss'. Did you mean 'eps'? Its options are: norm, eps"),
        ("explain", "saliency:steps=1", "'saliency' has no option 'steps'. Its options are: none."),
        ("explain", "saliency:drws=1", "'saliency' has no option 'drws'. Did you mean 'draws'? Its options are: none."),
        ("explain", "ig:draws=-1", "'integrated-gradients:draws=-1' is not valid: expected a whole number >= 0."),
        ("explain", "ig:draws=1.5", "expected a whole number >= 0."),
        ("evaluate", "deletion:draws=2", "'deletion' has no option 'draws'."),
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
