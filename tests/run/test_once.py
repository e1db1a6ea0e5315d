"""What is found once a run."""

from __future__ import annotations

from xaicli.run.once import Once


def test_every_key_is_found_once_even_if_nothing_is() -> None:
    once, asked = Once(), []
    for key in ("a", "b", "a", ("a", 1), "b"):
        assert once(key, lambda key=key: asked.append(key)) is None
    assert asked == ["a", "b", ("a", 1)]
    assert Once()("a", lambda: 2) == 2 and once("a", lambda: 2) is None
