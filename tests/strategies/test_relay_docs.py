"""docs/relay.md: its options and numbers are those of the code."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shoal.strategies.options import flag
from shoal.strategies.relay import build
from shoal.strategies.relay.options import LOOSEST, RelayOptions
from shoal.strategies.relay.rules import Rules

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "relay.md").read_text(encoding="utf-8")


def test_every_option_is_named() -> None:
    for option in msgspec.structs.fields(RelayOptions):
        assert f"`{flag(option.name)} " in PAGE, option.name


def test_the_numbers_are_those_of_the_code() -> None:
    rules = Rules()
    assert f"without it {build.LEAST_ACCURACY:g}" in PAGE
    assert f"| {rules.short:g}, {rules.long:g} | tasks" in PAGE
    assert f"`--crowded 20` | {rules.crowded:g} |" in PAGE
    assert f"| {rules.alpha:g}, {rules.beta:g}, {rules.zeta:g} | how fast" in PAGE
    assert f"`--window 8` | {rules.window:g} |" in PAGE
    assert f"`--loosest 0.5` | {LOOSEST:g} |" in PAGE
    assert f"every {rules.period_s:g} s" in PAGE
    assert f"{1e3 * rules.draw_s:g} ms" in PAGE
