"""Flag, then environment, then --config, then default; and what a config file may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xaicli.cli import train as train_verb
from xaicli.cli.options import Common

SEED = "[train]\nseed = 3\n"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[Common]:
    """What reached `train`, which does nothing else here."""
    seen: list[Common] = []

    def look(settings: Any, results: int, extension: str, work: Any) -> int:
        seen.append(settings)
        return 0

    for verb in ("train", "attack", "explain", "evaluate", "generate"):
        monkeypatch.setattr(f"xaicli.cli.{verb}.produce", look)
    assert train_verb.produce is look
    return seen


@pytest.mark.parametrize(
    ("flag", "environment", "config", "seed"),
    [
        ((), None, "", 0),
        ((), None, SEED, 3),
        ((), "2", SEED, 2),
        (("--seed", "1"), "2", SEED, 1),
        (("--seed", "1"), None, SEED, 1),
        ((), "2", "", 2),
        ((), "", SEED, 3),
    ],
)
def test_precedence(
    flag: tuple[str, ...],
    environment: str | None,
    config: str,
    seed: int,
    call: Any,
    here: Path,
    settings: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (here / "c.toml").write_text(config)
    if environment is not None:
        monkeypatch.setenv("XAICLI_SEED", environment)
    said = call("train", "--data", "digits", "--config", "c.toml", *flag)
    assert (said.code, said.err) == (0, "")
    assert [one.seed for one in settings] == [seed]


def test_every_option_has_its_environment_variable(
    call: Any, here: Path, settings: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "BATCH_SIZE": "8",
        "LIMIT": "5",
        "PER_CLASS": "2",
        "DEVICE": "cpu",
        "THREADS": "1",
        "BLOCK": "4",
        "OUTPUT": "x.safetensors",
        "FORCE": "1",
        "DRY_RUN": "true",
        "PARENT": "a:b",
        "DATA_ROOT": "ignored",
        "DATA": "roots",
        "INPUT": "1x8x8",
        "RECIPE": "adversarial",
        "EPOCHS": "2",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"XAICLI_{name}", value)
    said = call("train", "--data", "digits")
    assert (said.code, said.err) == (0, "")
    (found,) = settings
    assert (found.batch_size, found.limit, found.per_class, found.device, found.threads) == (8, 5, 2, "cpu", 1)
    assert (found.block, found.output, found.force, found.dry_run) == (4, "x.safetensors", True, True)
    assert found.parents == (Path("a"), Path("b"))
    assert found.data_root == Path("roots")


def test_xaicli_data_is_a_folder_and_no_data_set(call: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAICLI_DATA", str(here))
    assert call("train").err == "xaicli: missing option '--data'.\n"


def test_a_wrong_value_in_the_environment_is_a_usage_error(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAICLI_SEED", "x")
    said = call("train", "--data", "digits")
    assert said.code == 2
    assert "--seed" in said.err


def test_top_level_serves_all_commands_and_a_table_its_own(call: Any, here: Path, settings: list[Any]) -> None:
    (here / "c.toml").write_text(
        'limit = 7\nblock = 8\nparent = "x"\nforce = true\nseed = 1\n'
        '[train]\nseed = 2\ndata = "digits"\nepochs = 4\nlimit = 9\n[store]\ntolerance = 1e-3\n'
    )
    assert call("train", "--config", "c.toml").code == 0
    (found,) = settings
    assert (found.limit, found.block, found.parents, found.force, found.seed) == (9, 8, (Path("x"),), True, 2)
    said = call("store", "info", "nosuch", "--config", "c.toml")
    assert said.err == "xaicli: 'nosuch' does not exist; check the path.\n"


def test_methods_may_be_given_in_the_config(call: Any, here: Path, settings: list[Any], files: Any) -> None:
    for text in ('method = "gradcam"', 'method = ["gradcam", "ig:steps=4"]'):
        (here / "c.toml").write_text(f"[explain]\n{text}\n")
        assert call("explain", files.checkpoint, "--config", "c.toml").code == 0
    assert len(settings) == 2


def test_the_config_may_be_named_by_the_environment(
    call: Any, here: Path, settings: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "c.toml").write_text(SEED)
    monkeypatch.setenv("XAICLI_CONFIG", "c.toml")
    assert call("train", "--data", "digits").code == 0
    assert settings[0].seed == 3


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("sed = 1", 2, "--config 'c.toml' sets 'sed', which is no option here. Did you mean 'seed'?"),
        (
            "[train]\nepoch = 1",
            2,
            "--config 'c.toml' sets 'train.epoch', which is no option here. Did you mean 'epochs'?",
        ),
        (
            "[explain]\nquality = 1",
            2,
            "--config 'c.toml' sets 'explain.quality', which is no option here. Did you mean",
        ),
        ("[train]\nconfig = 'd'", 2, "--config 'c.toml' sets 'train.config', which is no option here."),
        (
            "[trian]\nseed = 1",
            2,
            "--config 'c.toml' has a table for 'trian', which is no command. Did you mean 'train'?",
        ),
        ("seed = 'x'", 2, "invalid value for '--seed': "),
        ("seed = 1.5", 2, "invalid value for '--seed': "),
        ("[train]\nseed = [1]", 2, "--config gives --seed the value [1]; write text or a number."),
        ("[train]\narch = true", 2, "--config gives --arch the value True; write text or a number."),
        ("[train]\narch = 1979-05-27", 2, "--config gives --arch the value datetime.date(1979, 5, 27); write text or"),
        ("[train]\narch = {a = 1}", 2, "--config gives --arch the value {'a': 1}; write text or a number."),
        ('[train]\narch = "a\\u0000"', 2, "--config gives --arch the value 'a\\x00'; write text or a number."),
        ("force = 1", 2, "--config gives --force the value 1; write true or false."),
        ("parent = [1979-05-27]", 2, "--config gives --parent the value datetime.date(1979, 5, 27); write text or"),
        ("seed = ", 65, "--config 'c.toml' is not valid TOML: "),
        ("\x00", 65, "--config 'c.toml' is not valid TOML: "),
        (None, 66, "--config 'c.toml' cannot be read: No such file or directory; check the path."),
    ],
)
def test_mistakes_in_the_config(text: str | None, code: int, sentence: str, call: Any, here: Path) -> None:
    if text is not None:
        (here / "c.toml").write_text(text)
    said = call("train", "--data", "digits", "--config", "c.toml")
    assert said.code == code
    assert said.err.startswith(f"xaicli: {sentence}")
    assert said.err.count("\n") == 1


def test_a_config_that_is_no_text_is_65_and_a_folder_66(call: Any, here: Path) -> None:
    (here / "c.toml").write_bytes(b"\xff\xfe")
    assert call("methods", "--config", "c.toml").code == 65
    assert call("methods", "--config", here).code == 66
