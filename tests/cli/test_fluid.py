"""A bundle at the command line is a network like any other, and more with ``fluid``."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.toys import fluid

from shoal.cli.entry import run
from shoal.plan.playbook import load

pytestmark = pytest.mark.system


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return fluid.write(tmp_path / "tiny.fluid")


@pytest.mark.usefixtures("equally_fast")
def test_a_bundle_is_inspected_planned_and_run(
    bundle: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert "x float32 [batch, 1, 8, 8]" in shown
    assert "sub-networks of 4 groups" in shown
    assert "apart (logits added)" in shown
    out = tmp_path / "book.json"
    arguments = ["--cluster", str(cluster), "--strategy", "fluid", "--floor", "0.98"]
    assert run(["plan", str(bundle), *arguments, "--calm-s", "2", "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "would be below the floor of 0.98" in shown
    book = load(out)
    assert book.plans[0].name.startswith("dense 0+1+2+3 on worker-")
    assert book.policy.settings["floor"] == 0.98
    assert book.policy.settings["calm_s"] == 2
    np.save(tmp_path / "image.npy", np.zeros((1, 1, 8, 8), np.float32))
    arguments = [str(out), "--cluster", str(cluster), "--input", str(tmp_path / "image.npy")]
    assert run(["run", *arguments, "--json"]) == 0
    assert "dense 0+1+2+3" in capsys.readouterr().out


def test_a_floor_that_is_no_share_is_refused(
    bundle: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(bundle), "--cluster", str(cluster), "--floor", "98"]) == 40
    assert "write 0.99 for 99 %" in capsys.readouterr().err


def test_a_network_without_sub_networks_says_what_to_do(
    tiny: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--cluster", str(cluster), "--strategy", "fluid"]
    assert run(["plan", str(tiny), *arguments]) == 40
    assert "shoal train fluid" in capsys.readouterr().err


def test_strategies_are_compared_for_a_bundle(
    bundle: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(bundle), "--cluster", str(cluster), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    options = {option["strategy"]: option for option in found["options"]}
    assert options["fluid"]["forecast"]["accuracy"] == 1
    assert options["fluid"]["unprotected"] == []
