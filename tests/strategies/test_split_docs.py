"""What docs/split.md says is so."""

import re
from pathlib import Path

import msgspec
import pytest

import shoal
from shoal.mesh import sender
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Aim
from shoal.plan.statistics import images_needed, lower_bound
from shoal.strategies.options import flag
from shoal.strategies.split import decide, probes
from shoal.strategies.split.build import strategy
from shoal.strategies.split.choice import COLUMNS
from shoal.strategies.split.prepare import RELAX
from shoal.strategies.split.wish import DEFAULT_ACCURACY

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "split.md").read_text(encoding="utf-8")


def test_the_example_is_a_cluster_with_a_device_that_computes():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert Cluster.from_yaml(text).gateway.compute


def test_the_objective_of_the_example_is_one():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    made = {}
    exec(code.splitlines()[0], {"shoal": shoal}, made)
    assert made["objective"].aims == (Aim.LATENCY, Aim.BYTES)


def test_every_option_and_aim_is_named():
    for option in msgspec.structs.fields(strategy.options):
        assert f"`{flag(option.name)} " in PAGE
    assert f"relax {RELAX}" in PAGE
    for aim in COLUMNS:
        assert f"`{aim}`" in PAGE


def test_the_numbers_are_those_of_the_code():
    assert f"without it {DEFAULT_ACCURACY}" in PAGE
    assert images_needed(0.95) == 52
    assert images_needed(0.99) == 268
    assert lower_bound(314, 315) == pytest.approx(0.986, abs=1e-3)
    assert lower_bound(309, 315) == pytest.approx(0.9636, abs=1e-3)
    assert (decide.GAIN, decide.PATIENCE, decide.COOL_S) == (0.05, 3, 0.2)
    assert (decide.HOLD_S, decide.STIR) == (0.25, 1.25)
    assert "**holds** for 250 ms" in PAGE
    assert "(by a factor of 1.25)" in PAGE
    assert (probes.QUIET_S, probes.PROBE_S, probes.GROWN) == (0.3, 0.4, 1.5)
    assert (sender.PROBE_S, sender.LEAST_PROBE) == (0.03, 4096)
