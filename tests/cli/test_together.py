"""The demo's second act, with a network of made-up weights."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.toys import fluid

from shoal.cli import together
from shoal.cli.together import act, act_text, facts
from shoal.observe.load_generator import Record
from shoal.zoo.samples import Samples


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks between what one request and what many are to do, however fast the machine is: one at
    a time is always the only one, and many take longer than runs cost at least."""
    for name, seconds in (("HIGH_S", 3e-4), ("LOW_S", 1e-4), ("CALM_S", 0.1)):
        monkeypatch.setattr(together, name, seconds)


@pytest.mark.system
@pytest.mark.usefixtures("equally_fast", "marks")
def test_the_act_shows_both_modes_and_loses_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = random.random((16, 1, 8, 8)).astype(np.float32)
    samples = Samples(images, random.integers(0, 10, 16), tuple("0123456789"), "x")
    console = Console(record=True, width=120)
    found = act(console, fluid.write(tmp_path / "tiny.fluid"), samples, "fluid", 4.0)
    assert found["answered"] == found["asked"] > 0
    assert (found["lost"], found["answered_twice"]) == (0, 0)
    first, crowd, killed, _back, _calm = found["scenes"]
    assert first["together"] > 0.5
    assert crowd["together"] < first["together"]
    assert killed["together"] < first["together"]
    assert all(scene["images_per_s"] > 0 for scene in found["scenes"])
    console.print(act_text(found))
    text = console.export_text()
    assert "worker-2 was killed (SIGKILL)" in text
    assert "0 lost, 0 twice" in text


def test_shares_of_what_was_answered_together_and_rightly() -> None:
    def record(best: int, *devices: str) -> Record:
        return Record(0, 0.0, 0.1, "p", devices, 1, best, False)

    found = facts([record(3, "a", "b"), record(4, "a")], [3])
    assert found == {"together": 0.5, "right": 0.5}
    assert facts([], []) == {"together": 0.0, "right": 0.0}
