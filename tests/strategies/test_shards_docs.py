"""What docs/shards.md says is so."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shoal.codec.parcel import SMALL
from shoal.plan.statistics import images_needed
from shoal.strategies.images import ASKED
from shoal.strategies.options import flag
from shoal.strategies.shards import build, choose, packing, plans, prepare, promise, repair

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "shards.md").read_text(encoding="utf-8")


def test_every_option_is_named() -> None:
    for option in msgspec.structs.fields(build.strategy.options):
        assert f"`{flag(option.name)} " in PAGE


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"(without it {build.LEAST_ACCURACY})" in PAGE
    assert f"at most {build.JUDGED})" in PAGE
    assert f"at least {plans.LEAST_WAIT_MS:g} ms" in PAGE
    assert plans.PATIENCE == 2
    assert promise.BACK == (0.03, 0.1, 0.3, 1.0)
    assert "0.03, 0.1, 0.3 and at last all of" in PAGE
    assert 1 + len(promise.BACK) == 5
    assert "looked at five times at the most" in PAGE
    assert f"The first look has\n{promise.FIRST} of the error" in PAGE
    assert f"away for {prepare.REPAIR_S:g} seconds" in PAGE
    assert f"none for more than {repair.MOST_DEVICES} devices" in PAGE
    assert images_needed(0.95, promise.confidence_of(0, prepare.CONFIDENCE)) == 59
    assert "takes 59 of them, so give at least 118" in PAGE
    assert f"with {2 * ASKED} or more" in PAGE
    assert packing.TRIED == ("half", "quant:8")
    assert "`half` and `quant:8` are looked at" in PAGE
    assert (packing.GAIN, choose.PACKED) == (0.1, 0.2)
    assert "quicker by a tenth" in PAGE
    assert "a fifth of the error" in PAGE
    assert f"fewer than {SMALL} values" in PAGE
    assert packing.WEIGHED == 2
